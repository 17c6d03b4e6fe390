//! Aggregations of generated maps.

use super::grow::{Grower, Ty};
use super::tree::Node;
use crate::mutate::Random;

/// An aggregation; a map has one, with one sign of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aggregate {
    function: Function,
    signed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Count,
    Sum,
    Min,
    Max,
    Avg,
    Stats,
    Hist(usize),
    Lhist(i64, i64, i64),
}

const FUNCTIONS: [Function; 11] = [
    Function::Count,
    Function::Sum,
    Function::Min,
    Function::Max,
    Function::Avg,
    Function::Stats,
    Function::Hist(0),
    Function::Hist(2),
    Function::Hist(5),
    Function::Lhist(0, 100, 10),
    Function::Lhist(-50, 1000, 7),
];

impl Aggregate {
    pub(super) fn any(random: &mut Random) -> Self {
        let function = FUNCTIONS.get(random.below(FUNCTIONS.len())).copied().unwrap_or(Function::Count);
        Self { function, signed: random.below(2) == 0 }
    }

    /// A cast makes a number of it.
    pub(super) fn is_readable(self) -> bool {
        matches!(self.function, Function::Count | Function::Sum | Function::Min | Function::Max | Function::Avg)
    }

    /// Its last argument of `print()` divides.
    pub(super) fn is_histogram(self) -> bool {
        matches!(self.function, Function::Hist(_) | Function::Lhist(..))
    }
}

impl Grower {
    /// The call that is assigned to a map.
    pub(super) fn aggregation(&mut self, aggregate: Aggregate) -> Node {
        let number = self.value(&Ty::Int(8, aggregate.signed), 1);
        let sort = format!("{aggregate:?}");
        let call = match aggregate.function {
            Function::Count => return Node::leaf(sort, "count()"),
            Function::Sum => "sum(§)".to_owned(),
            Function::Min => "min(§)".to_owned(),
            Function::Max => "max(§)".to_owned(),
            Function::Avg => "avg(§)".to_owned(),
            Function::Stats => "stats(§)".to_owned(),
            Function::Hist(0) => "hist(§)".to_owned(),
            Function::Hist(bits) => format!("hist(§, {bits})"),
            Function::Lhist(min, max, step) => format!("lhist(§, {min}, {max}, {step})"),
        };
        let simple = call.replace('§', if aggregate.signed { "(int64)1" } else { "(uint64)1" });
        Node::new(sort, simple, &call, vec![number])
    }
}
