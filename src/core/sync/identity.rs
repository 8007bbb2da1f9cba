//! What an object is called in messages, and where it is registered.

use super::registry::{self, Place};
use super::wait::Object;
use crate::core::error::{self, Error, Result};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Its kind and name, as in `lock 'ledger'`; without a name its kind and a number.
pub struct Identity {
    pub kind: &'static str,
    pub name: String,
    text: String,
    /// Of all objects.
    pub number: u64,
    place: OnceLock<Place>,
}

impl Identity {
    pub fn new(kind: &'static str, name: Option<&str>) -> Identity {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Relaxed);
        let text = match name {
            Some(name) if !name.is_empty() => format!("{kind} '{name}'"),
            _ => format!("{kind} #{number}"),
        };
        Identity {
            kind,
            name: name.unwrap_or_default().to_owned(),
            text,
            number,
            place: OnceLock::new(),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Enters the object, whose identity this is, in the registry.
    pub fn register<T: Object + 'static>(&self, object: &Arc<T>) {
        let _ = self.place.set(registry::add(Arc::clone(object) as _));
    }

    pub fn place(&self) -> Place {
        *self.place.get().expect("registered when it was made")
    }

    /// The object ends, if nobody waits for it: then it leaves the registry.
    ///
    /// # Errors
    /// BUSY.
    pub fn retire(&self, waiting: usize) -> Result<()> {
        if waiting > 0 {
            return Err(self.busy(&format!("has {waiting} waiting")));
        }
        registry::remove(self.place());
        Ok(())
    }

    pub fn busy(&self, how: &str) -> Error {
        Error::new(error::BUSY, format!("{} {how}", self.text))
    }

    pub fn closed(&self) -> Error {
        Error::new(error::CLOSED, format!("{} is closed", self.text))
    }
}
