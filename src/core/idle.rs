//! Who is idle: an intrusive list, newest first, guarded by the cache's lock.
//!
//! Taking a worker off this list is the one act that decides a race: whoever did it owns what happens to the worker next.
//! A submitter that takes it off gives it a job; a worker whose time is up may only leave if it could take itself off.

use super::guarded::Guarded;

/// What an element keeps for the list.
pub struct Links<N: 'static> {
    newer: Option<&'static N>,
    older: Option<&'static N>,
    listed: bool,
}

impl<N> Links<N> {
    pub const fn new() -> Self {
        Links {
            newer: None,
            older: None,
            listed: false,
        }
    }
}

/// An element of an idle list; it is never freed.
pub trait Idle: Sized + 'static {
    fn links(&self) -> &Guarded<Links<Self>>;
}

pub struct IdleList<N: 'static> {
    newest: Option<&'static N>,
    oldest: Option<&'static N>,
    len: usize,
}

impl<N: Idle> IdleList<N> {
    pub const fn new() -> Self {
        IdleList {
            newest: None,
            oldest: None,
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn push(&mut self, node: &'static N) {
        debug_assert!(!node.links().get(self).listed, "listed twice");
        let older = self.newest.replace(node);
        match older {
            Some(older) => older.links().get_mut(self).newer = Some(node),
            None => self.oldest = Some(node),
        }
        *node.links().get_mut(self) = Links {
            newer: None,
            older,
            listed: true,
        };
        self.len += 1;
    }

    /// The one that became idle last.
    #[inline]
    pub fn pop_newest(&mut self) -> Option<&'static N> {
        let node = self.newest?;
        self.remove(node);
        Some(node)
    }

    /// The one that has been idle for longest.
    pub fn pop_oldest(&mut self) -> Option<&'static N> {
        let node = self.oldest?;
        self.remove(node);
        Some(node)
    }

    /// False if it was not listed: someone else has taken it off.
    pub fn remove(&mut self, node: &'static N) -> bool {
        let links = node.links().get_mut(self);
        if !links.listed {
            return false;
        }
        links.listed = false;
        let (newer, older) = (links.newer.take(), links.older.take());
        match newer {
            Some(newer) => newer.links().get_mut(self).older = older,
            None => self.newest = older,
        }
        match older {
            Some(older) => older.links().get_mut(self).newer = newer,
            None => self.oldest = newer,
        }
        self.len -= 1;
        true
    }

    pub fn for_each(&self, mut f: impl FnMut(&'static N)) {
        let mut next = self.newest;
        while let Some(node) = next {
            f(node);
            next = node.links().get(self).older;
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    struct Element(u32, Guarded<Links<Element>>);
    impl Idle for Element {
        fn links(&self) -> &Guarded<Links<Element>> {
            &self.1
        }
    }

    fn element(n: u32) -> &'static Element {
        Box::leak(Box::new(Element(n, Guarded::new(Links::new()))))
    }

    #[test]
    fn last_in_first_out_with_removal_anywhere() {
        let mut list = IdleList::<Element>::new();
        let all: Vec<_> = (0..5).map(element).collect();
        all.iter().for_each(|e| list.push(e));
        assert!(list.remove(all[2]) && !list.remove(all[2]));
        assert_eq!(list.pop_newest().unwrap().0, 4);
        assert_eq!(list.pop_oldest().unwrap().0, 0);
        list.push(all[2]);
        let mut seen = vec![];
        list.for_each(|e| seen.push(e.0));
        assert_eq!(seen, [2, 3, 1]);
        assert_eq!(list.len(), 3);
        while list.pop_newest().is_some() {}
        assert_eq!((list.len(), list.pop_oldest().is_none()), (0, true));
    }
}
