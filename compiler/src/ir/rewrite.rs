//! Replacing values by others, recorded first and applied at once.

use super::{Function, Value};
use crate::index::IndexVec;

/// What each value is replaced by.
#[derive(Debug)]
pub struct Rewrites {
    to: IndexVec<Value, Option<Value>>,
    any: bool,
}

impl Rewrites {
    /// Nothing is replaced.
    pub fn new(func: &Function) -> Self {
        Self { to: vec![None; func.values.len()].into(), any: false }
    }

    /// What a value stands for now.
    pub fn find(&self, mut v: Value) -> Value {
        while let Some(Some(next)) = self.to.get(v) {
            v = *next;
        }
        v
    }

    /// Replaces `from`. Does nothing if the two are the same by now, so that no cycle arises.
    pub fn replace(&mut self, from: Value, by: Value) {
        let (from, by) = (self.find(from), self.find(by));
        if from == by {
            return;
        }
        while self.to.len() <= crate::index::Id::index(from) {
            self.to.push(None);
        }
        self.to[from] = Some(by);
        self.any = true;
    }

    /// Whether anything is replaced.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Changes all uses.
    pub fn apply(&self, func: &mut Function) {
        if self.any {
            func.map_uses(|v| self.find(v));
        }
    }
}
