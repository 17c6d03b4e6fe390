//! Aggregations: folding a value into this CPU's copy, and reducing the copies to a number inside the kernel.

use super::{FnLower, Loc, Mem};
use crate::ir::{BinOp as Ir, Cond, Value, Width, helpers};
use crate::program::{Aggregate, MapId, linear_buckets, log2_buckets};
use crate::typed::{BinOp, Expr, ExprKind};
use crate::types::Type;

/// The upper six bits of its products with 2^1 - 1, 2^2 - 1, … 2^64 - 1 are all different.
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// Position of the highest set bit by the upper six bits of the product of [`DE_BRUIJN`] and the number whose bits
/// from there down are all set.
const HIGHEST_BITS: [u8; 64] = {
    let mut table = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        let ones = u64::MAX >> (63 - bit);
        let index = (ones.wrapping_mul(DE_BRUIJN) >> 58) as usize;
        #[allow(clippy::indexing_slicing)] // While compiling: six bits are below 64.
        {
            table[index] = bit;
        }
        bit += 1;
    }
    table
};

impl FnLower<'_, '_> {
    /// `@m[key] = hist(value)` and its kind. The copy belongs to this CPU, so plain loads and stores do.
    pub(super) fn fold(&mut self, map: MapId, key: Option<&Expr>, value: Option<&Expr>) {
        let Type::Aggregate(aggregate) = self.map_value_type(map) else {
            return self.internal("an aggregation into a plain map", self.b.span());
        };
        let value = match value {
            Some(value) => self.scalar(value),
            None => self.b.iconst(1),
        };
        let address = self.lookup_or_insert(map, key);
        let (hit, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, address, 0, hit, end);
        self.b.enter(hit);
        self.mark_set(map, address);
        match aggregate {
            Aggregate::Count => {
                let one = self.b.iconst(1);
                self.add_at(address, 0, one);
            }
            Aggregate::Sum { .. } => self.add_at(address, 0, value),
            Aggregate::Avg { .. } | Aggregate::Stats { .. } => {
                let one = self.b.iconst(1);
                self.add_at(address, 0, one);
                self.add_at(address, 8, value);
            }
            Aggregate::Min { signed } => self.extreme(address, value, if signed { Cond::SLt } else { Cond::ULt }),
            Aggregate::Max { signed } => self.extreme(address, value, if signed { Cond::SGt } else { Cond::UGt }),
            Aggregate::Hist { bits } => {
                let bucket = self.log2_bucket(value, bits);
                self.bump(address, bucket, log2_buckets(bits));
            }
            Aggregate::LinearHist { min, max, step } => {
                let bucket = self.linear_bucket(value, min, max, step);
                self.bump(address, bucket, linear_buckets(min, max, step) as u32);
            }
            Aggregate::Series { interval_ns, slots, fold, signed } => {
                self.series(address, value, (interval_ns, slots), fold, signed);
            }
        }
        self.join(end);
    }

    pub(super) fn add_at(&mut self, address: Value, offset: i32, value: Value) {
        let old = self.b.load(Width::W8, address, offset);
        let new = self.b.bin(Ir::Add, old, value);
        self.b.store(Width::W8, address, offset, new);
    }

    /// Keeps the smaller or larger value; the second word says that there is one.
    fn extreme(&mut self, address: Value, value: Value, better: Cond) {
        let (compare, take, end) = (self.b.block(), self.b.block(), self.b.block());
        let set = self.b.load(Width::W8, address, 8);
        self.b.branch_imm(Cond::Eq, set, 0, take, compare);
        self.b.enter(compare);
        let old = self.b.load(Width::W8, address, 0);
        self.b.branch(better, value, old, take, end);
        self.b.enter(take);
        self.b.store(Width::W8, address, 0, value);
        let one = self.b.iconst(1);
        self.b.store(Width::W8, address, 8, one);
        self.join(end);
    }

    /// Adds one to a bucket, whose bound the verifier must see. On paths that no value takes it has derived bounds that
    /// contradict the bits it knows, and refuses to add such a number to a pointer: a mask makes it forget the bounds.
    fn bump(&mut self, address: Value, bucket: Value, buckets: u32) {
        let mask = buckets.checked_next_power_of_two().unwrap_or(0).wrapping_sub(1);
        let bucket = self.b.bin_imm(Ir::And, bucket, i64::from(mask));
        let bucket = self.clamp(bucket, buckets.saturating_sub(1));
        let bytes = self.b.bin_imm(Ir::Shl, bucket, 3);
        let at = self.b.bin(Ir::Add, address, bytes);
        let one = self.b.iconst(1);
        self.add_at(at, 0, one);
    }

    /// Bucket of a power-of-two histogram, as `program::log2_buckets` numbers them, without a branch: the verifier
    /// walks through the code that follows once, not once for each way through the computation.
    fn log2_bucket(&mut self, value: Value, bits: u8) -> Value {
        let bits = i64::from(bits.min(5));
        // n below 2^bits belongs to bucket 1 + n: the formula says so when e is `bits` for it.
        let at_least = self.b.bin_imm(Ir::Or, value, 1 << bits);
        let exponent = self.highest_bit(at_least);
        // 1 + ((e - bits + 1) << bits) + ((n >> (e - bits)) - 2^bits)
        let shift = self.b.bin_imm(Ir::Add, exponent, -bits);
        let group = self.b.bin_imm(Ir::Add, shift, 1);
        let group = self.b.bin_imm(Ir::Shl, group, bits);
        let sub = self.b.bin(Ir::LShr, value, shift);
        let bucket = self.b.bin(Ir::Add, group, sub);
        let bucket = self.b.bin_imm(Ir::Add, bucket, 1 - (1 << bits));
        // What is below zero goes to bucket 0.
        let sign = self.b.bin_imm(Ir::AShr, value, 63);
        let kept = self.b.bin_imm(Ir::Xor, sign, -1);
        self.b.bin(Ir::And, bucket, kept)
    }

    /// Position of the highest set bit of a value that is not zero, from [`HIGHEST_BITS`]: BPF has no such instruction.
    fn highest_bit(&mut self, value: Value) -> Value {
        let mut ones = value;
        for step in [1, 2, 4, 8, 16, 32] {
            let shifted = self.b.bin_imm(Ir::LShr, ones, step);
            ones = self.b.bin(Ir::Or, ones, shifted);
        }
        let factor = self.b.iconst(DE_BRUIJN as i64);
        let product = self.b.bin(Ir::Mul, ones, factor);
        let index = self.b.bin_imm(Ir::LShr, product, 58);
        let table = self.m.rodata(&HIGHEST_BITS, 8);
        let table = self.b.rodata(table);
        let at = self.b.bin(Ir::Add, table, index);
        self.b.load(Width::W1, at, 0)
    }

    /// 0 below min, then one bucket a step, the last at and above max.
    fn linear_bucket(&mut self, value: Value, min: i64, max: i64, step: u64) -> Value {
        let last = linear_buckets(min, max, step).saturating_sub(1) as i64;
        let result = self.b.variable();
        let (below, rest, above, inside, end) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        let low = self.b.iconst(min);
        self.b.branch(Cond::SLt, value, low, below, rest);
        self.b.enter(below);
        let zero = self.b.iconst(0);
        self.b.set(result, zero);
        self.b.jump(end);
        self.b.enter(rest);
        let high = self.b.iconst(max);
        self.b.branch(Cond::SGe, value, high, above, inside);
        self.b.enter(above);
        let top = self.b.iconst(last);
        self.b.set(result, top);
        self.b.jump(end);
        self.b.enter(inside);
        let distance = self.b.bin(Ir::Sub, value, low);
        let width = self.b.iconst(step.max(1) as i64);
        let bucket = self.b.bin(Ir::UDiv, distance, width);
        let bucket = self.b.bin_imm(Ir::Add, bucket, 1);
        self.b.set(result, bucket);
        self.join(end);
        self.b.get(result)
    }

    /// An aggregation read in an expression: all CPUs' copies reduced to one integer.
    pub(super) fn reduce(&mut self, map: MapId, key: Option<&Expr>, aggregate: Aggregate) -> Value {
        let key = self.key(map, key);
        self.reduce_at(map, key, aggregate)
    }

    /// The same by the address of the key.
    pub(super) fn reduce_at(&mut self, map: MapId, key: Value, aggregate: Aggregate) -> Value {
        let (total, count) = self.sum_up(map, key, aggregate);
        match aggregate {
            Aggregate::Avg { signed } | Aggregate::Stats { signed } => self.average(total, count, signed),
            _ => total,
        }
    }

    /// Count, average and total as the record that `check` makes of them.
    pub(super) fn reduce_into(&mut self, map: MapId, key: Value, signed: bool, dst: Mem) {
        let (total, count) = self.sum_up(map, key, Aggregate::Stats { signed });
        let average = self.average(total, count, signed);
        for (at, word) in [count, average, total].into_iter().enumerate() {
            let place = dst.at(8 * at as u32);
            self.b.store(Width::W8, place.base, place.offset, word);
        }
    }

    /// The count is never zero where there is a total; the kernel's division by zero gives zero.
    fn average(&mut self, total: Value, count: Value, signed: bool) -> Value {
        let ty = if signed { Type::I64 } else { Type::U64 };
        let one = Expr { kind: ExprKind::Int(1), ty: Type::U64, span: self.b.span() };
        self.arithmetic(BinOp::Div, total, count, &ty, &one)
    }

    /// Value and count over all CPUs; only means have a count.
    fn sum_up(&mut self, map: MapId, key: Value, aggregate: Aggregate) -> (Value, Value) {
        let (acc, count, seen) = (self.b.variable(), self.b.variable(), self.b.variable());
        let zero = self.b.iconst(0);
        for var in [acc, count, seen] {
            self.b.set(var, zero);
        }
        self.each_cpu(map, key, |this, found| {
            let mem = |offset| Loc::bpf(Mem { base: found, offset });
            let first = this.load_scalar(mem(0), &Type::U64);
            match aggregate {
                Aggregate::Count | Aggregate::Sum { .. } => this.accumulate(acc, first),
                Aggregate::Avg { .. } | Aggregate::Stats { .. } => {
                    let total = this.load_scalar(mem(8), &Type::U64);
                    this.accumulate(count, first);
                    this.accumulate(acc, total);
                }
                Aggregate::Min { signed } | Aggregate::Max { signed } => {
                    let better = match (aggregate, signed) {
                        (Aggregate::Min { .. }, true) => Cond::SLt,
                        (Aggregate::Min { .. }, false) => Cond::ULt,
                        (_, true) => Cond::SGt,
                        (_, false) => Cond::UGt,
                    };
                    let set = this.load_scalar(mem(8), &Type::U64);
                    let (valid, compare, take, end) = (this.b.block(), this.b.block(), this.b.block(), this.b.block());
                    this.b.branch_imm(Cond::Ne, set, 0, valid, end);
                    this.b.enter(valid);
                    let any = this.b.get(seen);
                    this.b.branch_imm(Cond::Eq, any, 0, take, compare);
                    this.b.enter(compare);
                    let best = this.b.get(acc);
                    this.b.branch(better, first, best, take, end);
                    this.b.enter(take);
                    this.b.set(acc, first);
                    let one = this.b.iconst(1);
                    this.b.set(seen, one);
                    this.join(end);
                }
                Aggregate::Hist { .. } | Aggregate::LinearHist { .. } | Aggregate::Series { .. } => {
                    this.internal("a histogram as a number", this.b.span());
                }
            }
        });
        (self.b.get(acc), self.b.get(count))
    }

    /// Does something with every CPU's copy of a value that is there.
    pub(super) fn each_cpu(&mut self, map: MapId, key: Value, mut each: impl FnMut(&mut Self, Value)) {
        let cpu = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(cpu, zero);
        let (head, body, copy, next, end) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let n = self.b.get(cpu);
        let cpus = i64::from(self.m.facts.possible_cpus);
        self.b.branch_imm(Cond::ULt, n, cpus, body, end);
        self.b.enter(body);
        let handle = self.b.map(map);
        let found = self.b.call(helpers::MAP_LOOKUP_PERCPU_ELEM, &[handle, key, n]);
        self.b.branch_imm(Cond::Ne, found, 0, copy, next);
        self.b.enter(copy);
        each(self, found);
        self.join(next);
        let n = self.b.get(cpu);
        let n = self.b.bin_imm(Ir::Add, n, 1);
        self.b.set(cpu, n);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(end);
    }

    fn accumulate(&mut self, var: crate::ir::builder::Variable, value: Value) {
        let sum = self.b.get(var);
        let sum = self.b.bin(Ir::Add, sum, value);
        self.b.set(var, sum);
    }
}
