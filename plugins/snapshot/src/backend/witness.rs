//! Who follows work that takes long.

/// Is told how far it is, and may want it to end.
pub trait Witness {
    /// The part of the work that is being done, what is done of it and all of it as far as that is
    /// known, what is counted, and a word for people. Called as often as there is news.
    fn progress(&self, phase: &str, done: (u64, Option<u64>), unit: &str, message: &str);

    /// Whether nobody wants it any more. Then it ends soon, and leaves nothing behind.
    fn cancelled(&self) -> bool;
}

/// Nobody follows it, and it goes on to its end.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Witness for Nobody {
    fn progress(&self, _: &str, _: (u64, Option<u64>), _: &str, _: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}
