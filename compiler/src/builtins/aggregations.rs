//! Aggregations: `@map = count()` and its kind.

use super::Call;
use crate::check::Checker;
use crate::program::{Aggregate, SERIES_SLOT, SeriesFold, linear_buckets};
use crate::similar::closest;
use crate::typed::Expr;
use crate::types::Type;

type Result = Option<(Aggregate, Option<Expr>)>;

/// Sub-buckets of `hist` per power of two, as a power of two, at most.
const MAX_HIST_BITS: i64 = 5;

/// Bytes of a per-CPU value that the kernel can allocate.
const LARGEST_COPY: u32 = 32 << 10;

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

/// The names of what is kept of an interval's values; without one it is the last.
const SERIES_FOLDS: &[(&str, SeriesFold)] =
    &[("avg", SeriesFold::Avg), ("max", SeriesFold::Max), ("min", SeriesFold::Min), ("sum", SeriesFold::Sum)];

pub(super) fn tseries(checker: &mut Checker<'_>, call: &Call<'_>) -> Result {
    checker.allowed("unstable_tseries", "tseries()", call.span)?;
    // Room for the bytes that say that a scalar map is set.
    let most = i64::from((LARGEST_COPY - 8) / SERIES_SLOT);
    let value = number(checker, call);
    let mut positive = |n: usize, what: &str| {
        let arg = call.arg(n)?;
        let number = checker.literal_number(what, arg)?;
        if number < 1 {
            checker.error("time-series", format!("{what} is at least 1, not {number}"), arg.span);
            return None;
        }
        Some(number)
    };
    let interval = positive(1, "the interval of tseries()");
    let slots = positive(2, "the number of intervals of tseries()");
    let fold = match call.arg(3) {
        None => Some(SeriesFold::Last),
        Some(arg) => {
            let name = checker.literal_string("the aggregation of tseries()", arg)?;
            let found = SERIES_FOLDS.iter().find(|(own, _)| own.as_bytes() == name);
            if found.is_none() {
                let name = String::from_utf8_lossy(&name).into_owned();
                let close = closest(&name, SERIES_FOLDS.iter().map(|(own, _)| *own)).map(|own| format!("\"{own}\""));
                checker
                    .error("time-series", format!("tseries() has no aggregation \"{name}\""), arg.span)
                    .note("the aggregations are: avg, max, min, sum; without one the last value of an interval is kept")
                    .suggest(close);
            }
            found.map(|(_, fold)| *fold)
        }
    };
    let (value, interval, slots, fold) = (value?, interval?, slots?, fold?);
    let Some(slots) = u32::try_from(slots).ok().filter(|_| slots <= most) else {
        checker
            .error("time-series", format!("tseries() keeps at most {most} intervals, not {slots}"), call.arg(2)?.span)
            .label("more than the kernel can hold per CPU")
            .help("use longer intervals");
        return None;
    };
    let signed = value.ty == Type::I64;
    Some((Aggregate::Series { interval_ns: interval.unsigned_abs(), slots, fold, signed }, Some(value)))
}
