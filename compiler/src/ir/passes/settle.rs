//! What the builder of functions leaves behind: blocks that nothing reaches, and parameters that turned out to have one value.

use super::dce;
use crate::index::{Id, IndexVec};
use crate::ir::{Function, Value, cfg};

/// Edges of a graph, listed by where they begin; whole lists can be joined. Positions count from 1, 0 is the end.
struct Edges {
    first: IndexVec<Value, u32>,
    last: IndexVec<Value, u32>,
    /// Where each edge leads, and the next one of the same list.
    links: Vec<(Value, u32)>,
}

impl Edges {
    fn new(values: usize) -> Self {
        Self { first: vec![0; values].into(), last: vec![0; values].into(), links: Vec::new() }
    }
    fn add(&mut self, from: Value, to: Value) {
        self.links.push((to, 0));
        let at = self.links.len() as u32;
        self.link(from, at, at);
    }
    /// Appends a chain of edges to a list.
    fn link(&mut self, from: Value, first: u32, last: u32) {
        match self.links.get_mut((self.last[from] as usize).wrapping_sub(1)) {
            Some((_, next)) => *next = first,
            None => self.first[from] = first,
        }
        self.last[from] = last;
    }
    /// Gives a list to another one's owner.
    fn join(&mut self, from: Value, into: Value) {
        let (first, last) = (std::mem::take(&mut self.first[from]), std::mem::take(&mut self.last[from]));
        if first != 0 {
            self.link(into, first, last);
        }
    }
    fn of(&self, from: Value) -> impl Iterator<Item = Value> {
        let mut at = self.first[from];
        std::iter::from_fn(move || {
            let &(to, next) = self.links.get((at as usize).wrapping_sub(1))?;
            at = next;
            Some(to)
        })
    }
}

/// Replaces parameters whose arguments are one value (or the parameter itself) by that value, to a fixed point: what becomes of one parameter
/// makes those that take it as an argument worth another look.
pub fn settle(func: &mut Function) {
    dce::drop_unreached(func, &cfg::reverse_post_order(func));
    let values = func.values.len();
    let (mut arguments, mut takers) = (Edges::new(values), Edges::new(values));
    for term in func.blocks.iter().filter_map(|data| data.term.as_ref()) {
        term.for_each_target(|target| {
            for (&param, &arg) in func.blocks[target.block].params.iter().zip(&target.args) {
                arguments.add(param, arg);
                takers.add(arg, param);
            }
        });
    }
    // What stands for each value; itself at first.
    let mut alias: IndexVec<Value, Value> = (0..values).map(Value::new).collect::<Vec<_>>().into();
    let entry = func.blocks.iter().next().map_or(0, |entry| entry.params.len());
    let mut work: Vec<Value> = func.blocks.iter().flat_map(|data| data.params.iter().copied()).skip(entry).collect();
    let mut changed = false;
    while let Some(param) = work.pop() {
        if alias[param] != param {
            continue;
        }
        let mut only = None;
        let several = arguments
            .of(param)
            .map(|arg| resolve(&alias, arg))
            .filter(|&arg| arg != param)
            .any(|arg| *only.get_or_insert(arg) != arg);
        if let (Some(value), false) = (only, several) {
            alias[param] = value;
            work.extend(takers.of(param));
            takers.join(param, value);
            changed = true;
        }
    }
    if !changed {
        return;
    }
    let stays = |param: Value| alias[param] == param;
    for id in func.blocks.ids() {
        let Some(mut term) = func.blocks[id].term.take() else { continue };
        term.for_each_target_mut(|t| {
            let mut params = func.blocks[t.block].params.iter();
            t.args.retain(|_| params.next().is_none_or(|&param| stays(param)));
        });
        func.blocks[id].term = Some(term);
    }
    for data in &mut func.blocks {
        data.params.retain(|&param| stays(param));
    }
    func.map_uses(|v| resolve(&alias, v));
}

fn resolve(alias: &IndexVec<Value, Value>, mut v: Value) -> Value {
    while let Some(&next) = alias.get(v).filter(|&&next| next != v) {
        v = next;
    }
    v
}
