//! A table that grows and never moves or frees a row, so that rows are found by their number with no lock, also by a reader
//! that holds an old number, and also in a fork child.

#[cfg(not(any(loom, shuttle)))]
mod imp {
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    const FIRST: usize = 64;
    const CHUNKS: usize = 18;

    /// Rows 0 to 63 are in the first chunk; each further chunk is as large as all before it together, and 64 more.
    pub struct Table<T: 'static> {
        chunks: [AtomicPtr<T>; CHUNKS],
        rows: AtomicUsize,
    }

    fn place(index: usize) -> (usize, usize) {
        let n = index / FIRST + 1;
        let chunk = n.ilog2() as usize;
        (chunk, index - FIRST * ((1 << chunk) - 1))
    }

    impl<T: Default + Sync> Table<T> {
        /// How many rows there can be.
        pub(crate) const MOST: usize = FIRST * ((1 << CHUNKS) - 1);

        pub const fn new() -> Self {
            Table {
                chunks: [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS],
                rows: AtomicUsize::new(0),
            }
        }

        #[inline]
        pub fn get(&'static self, index: usize) -> Option<&'static T> {
            if index >= Self::MOST {
                return None;
            }
            let (chunk, at) = place(index);
            // Acquire pairs with the Release in `grow`: who sees the chunk sees its rows.
            let rows = self.chunks[chunk].load(Ordering::Acquire);
            // SAFETY: a chunk that is there has all its rows, and is never freed.
            (!rows.is_null()).then(|| unsafe { &*rows.add(at) })
        }

        /// How many rows have been handed out.
        pub fn rows(&self) -> usize {
            self.rows.load(Ordering::Acquire)
        }

        /// One more row, the last; the caller sees to it that no other thread does the same. None when the table is full.
        pub fn grow(&'static self) -> Option<usize> {
            let index = self.rows.load(Ordering::Relaxed);
            if index >= Self::MOST {
                return None;
            }
            let (chunk, _) = place(index);
            if self.chunks[chunk].load(Ordering::Relaxed).is_null() {
                let rows: Box<[T]> = (0..FIRST << chunk).map(|_| T::default()).collect();
                self.chunks[chunk].store(Box::leak(rows).as_mut_ptr(), Ordering::Release);
            }
            // Release pairs with the Acquire in `rows`.
            self.rows.store(index + 1, Ordering::Release);
            Some(index)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_row_has_a_place_of_its_own() {
            let mut next = (0, 0);
            for index in 0..100_000 {
                assert_eq!(place(index), next);
                next.1 += 1;
                if next.1 == FIRST << next.0 {
                    next = (next.0 + 1, 0);
                }
            }
            let last = Table::<u8>::MOST - 1;
            assert_eq!(place(last), (CHUNKS - 1, (FIRST << (CHUNKS - 1)) - 1));
        }

        #[test]
        fn rows_stay_where_they_are() {
            let table: &'static Table<AtomicUsize> = Box::leak(Box::new(Table::new()));
            assert!(table.get(0).is_none());
            for index in 0..1000 {
                assert_eq!(table.grow(), Some(index));
                table.get(index).unwrap().store(index, Ordering::Relaxed);
            }
            for index in 0..table.rows() {
                assert_eq!(table.get(index).unwrap().load(Ordering::Relaxed), index);
            }
            assert!(table.get(usize::MAX).is_none());
        }
    }
}

#[cfg(any(loom, shuttle))]
mod imp {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The models need few rows, all made at once.
    pub struct Table<T> {
        all: Vec<T>,
        rows: AtomicUsize,
    }

    impl<T: Default> Table<T> {
        pub(crate) const MOST: usize = if cfg!(loom) { 6 } else { 24 };

        pub fn new() -> Self {
            Table {
                all: (0..Self::MOST).map(|_| T::default()).collect(),
                rows: AtomicUsize::new(0),
            }
        }
        pub fn get(&'static self, index: usize) -> Option<&'static T> {
            self.all.get(index)
        }
        pub fn rows(&self) -> usize {
            self.rows.load(Ordering::SeqCst)
        }
        pub fn grow(&'static self) -> Option<usize> {
            let index = self.rows.load(Ordering::SeqCst);
            self.rows.store(index + 1, Ordering::SeqCst);
            (index < Self::MOST).then_some(index)
        }
    }
}

pub use imp::Table;

/// A [`Table`] that is a static. In the models each run has one of its own.
#[cfg(not(any(loom, shuttle)))]
macro_rules! static_table {
    (static $name:ident: $row:ty) => {
        static $name: $crate::sys::table::Table<$row> = $crate::sys::table::Table::new();
    };
}
#[cfg(any(loom, shuttle))]
macro_rules! static_table {
    (static $name:ident: $row:ty) => {
        $crate::sys::sync::model::lazy_static! {
            static ref $name: $crate::sys::table::Table<$row> = $crate::sys::table::Table::new();
        }
    };
}
pub(crate) use static_table;
