//! What a task's exit found and did.

/// What an item of a report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item {
    LockBroken = 1,
    LockHandedOn = 2,
    WaitCancelled = 3,
    GrantPassedOn = 4,
    TokenReturned = 5,
    LotBroken = 6,
}

/// Each thing with the name of the object.
#[derive(Default)]
pub struct Report {
    pub items: Vec<(Item, String)>,
}

impl Report {
    pub fn add(&mut self, item: Item, name: &str) {
        self.items.push((item, name.to_owned()));
    }

    pub fn count(&self, item: Item) -> u64 {
        self.items.iter().filter(|(i, _)| *i == item).count() as u64
    }
}
