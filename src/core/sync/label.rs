//! What an object is called in messages.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Its kind and name, as in `lock 'ledger'`; without a name its kind and a number.
pub struct Label {
    pub kind: &'static str,
    pub name: String,
    text: String,
    /// Of all objects.
    pub number: u64,
}

impl Label {
    pub fn new(kind: &'static str, name: Option<&str>) -> Label {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Relaxed);
        let text = match name {
            Some(name) if !name.is_empty() => format!("{kind} '{name}'"),
            _ => format!("{kind} #{number}"),
        };
        Label {
            kind,
            name: name.unwrap_or_default().to_owned(),
            text,
            number,
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}
