//! Aggregations: `@map = count()` and its kind.

use super::Call;
use crate::check::Checker;
use crate::program::{Aggregate, linear_buckets};
use crate::typed::Expr;
use crate::types::Type;

type Result = Option<(Aggregate, Option<Expr>)>;

/// Sub-buckets of `hist` per power of two, as a power of two, at most.
const MAX_HIST_BITS: i64 = 5;

/// Steps of `lhist` at most.
const MAX_STEPS: u64 = 1000;

pub(super) fn count(_: &mut Checker<'_>, _: &Call<'_>) -> Result {
    Some((Aggregate::Count, None))
}

/// The number to aggregate, in 64 bits.
fn number(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.number_arg(call.row.name, call.arg(0)?)
}

fn signed(checker: &mut Checker<'_>, call: &Call<'_>, build: fn(bool) -> Aggregate) -> Result {
    let value = number(checker, call)?;
    Some((build(value.ty == Type::I64), Some(value)))
}

pub(super) fn sum(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    signed(checker, call, |signed| Aggregate::Sum { signed })
}

pub(super) fn avg(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    signed(checker, call, |signed| Aggregate::Avg { signed })
}

pub(super) fn min(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    signed(checker, call, |signed| Aggregate::Min { signed })
}

pub(super) fn max(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    signed(checker, call, |signed| Aggregate::Max { signed })
}

pub(super) fn stats(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    signed(checker, call, |signed| Aggregate::Stats { signed })
}

pub(super) fn hist(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    let value = number(checker, call)?;
    let bits = match call.arg(1) {
        None => 0,
        Some(arg) => {
            let bits = checker.literal_number("the second argument of hist()", arg)?;
            if !(0..=MAX_HIST_BITS).contains(&bits) {
                let message = format!("hist() takes 0 to {MAX_HIST_BITS} bits, not {bits}");
                checker.error("histogram", message, arg.span);
                return None;
            }
            bits as u8
        }
    };
    Some((Aggregate::Hist { bits }, Some(value)))
}

pub(super) fn lhist(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    let value = number(checker, call);
    let mut bound = |n: usize, what: &str| checker.literal_number(what, call.arg(n)?);
    let min = bound(1, "the lower bound of lhist()");
    let max = bound(2, "the upper bound of lhist()");
    let step = bound(3, "the step of lhist()");
    let (value, min, max, step) = (value?, min?, max?, step?);
    let (min_arg, step_arg) = (call.arg(1)?, call.arg(3)?);
    if step <= 0 {
        checker.error("histogram", "the step of lhist() is a positive number", step_arg.span);
        return None;
    }
    if min >= max {
        checker
            .error("histogram", "the lower bound of lhist() must be less than the upper one", min_arg.span)
            .label(format!("{min} is not less than {max}"));
        return None;
    }
    let step = step.unsigned_abs();
    if max.abs_diff(min) < step {
        checker.error("histogram", "the step of lhist() is wider than its bounds", step_arg.span);
        return None;
    }
    if linear_buckets(min, max, step) > MAX_STEPS + 2 {
        checker
            .error("histogram", format!("lhist() has at most {MAX_STEPS} steps"), call.span)
            .help("use a wider step, or hist()");
        return None;
    }
    Some((Aggregate::LinearHist { min, max, step }, Some(value)))
}
