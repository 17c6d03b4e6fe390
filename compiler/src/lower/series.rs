//! Time series: a value folded into the slot of its interval.

use super::FnLower;
use crate::ir::{BinOp as Ir, Cond, Value, Width, helpers};
use crate::program::{SERIES_SLOT, SeriesFold};

/// A slot: number of its interval plus one, value, time or number of values.
const INTERVAL: i32 = 0;
const VALUE: i32 = 8;
const EXTRA: i32 = 16;

impl FnLower<'_, '_> {
    /// A slot that holds an older interval is taken over; the copy belongs to this CPU.
    pub(super) fn series(
        &mut self,
        address: Value,
        value: Value,
        (interval_ns, slots): (u64, u32),
        fold: SeriesFold,
        signed: bool,
    ) {
        let now = self.b.call(helpers::KTIME_GET_BOOT_NS, &[]);
        let offset = self.b.iconst(self.m.facts.wall_offset_ns as i64);
        let wall = self.b.bin(Ir::Add, now, offset);
        let length = self.b.iconst(interval_ns.max(1) as i64);
        let interval = self.b.bin(Ir::UDiv, wall, length);
        let index = self.b.bin_imm(Ir::UMod, interval, i64::from(slots.max(1)));
        let index = self.clamp(index, slots.saturating_sub(1));
        let bytes = self.b.bin_imm(Ir::Mul, index, i64::from(SERIES_SLOT));
        let slot = self.b.bin(Ir::Add, address, bytes);
        let number = self.b.bin_imm(Ir::Add, interval, 1);
        let held = self.b.load(Width::W8, slot, INTERVAL);
        let (fresh, more, end) = (self.b.block(), self.b.block(), self.b.block());
        let extra = match fold {
            SeriesFold::Avg => self.b.iconst(1),
            _ => now,
        };
        self.b.branch(Cond::Eq, held, number, more, fresh);
        self.b.enter(fresh);
        self.b.store(Width::W8, slot, INTERVAL, number);
        self.b.store(Width::W8, slot, VALUE, value);
        self.b.store(Width::W8, slot, EXTRA, extra);
        self.b.jump(end);
        self.b.enter(more);
        match fold {
            SeriesFold::Last => {
                self.b.store(Width::W8, slot, VALUE, value);
                self.b.store(Width::W8, slot, EXTRA, now);
            }
            SeriesFold::Sum => self.add_at(slot, VALUE, value),
            SeriesFold::Avg => {
                self.add_at(slot, VALUE, value);
                self.add_at(slot, EXTRA, extra);
            }
            SeriesFold::Min | SeriesFold::Max => {
                let better = match (fold, signed) {
                    (SeriesFold::Min, true) => Cond::SLt,
                    (SeriesFold::Min, false) => Cond::ULt,
                    (_, true) => Cond::SGt,
                    (_, false) => Cond::UGt,
                };
                let old = self.b.load(Width::W8, slot, VALUE);
                let take = self.b.block();
                self.b.branch(better, value, old, take, end);
                self.b.enter(take);
                self.b.store(Width::W8, slot, VALUE, value);
            }
        }
        self.join(end);
    }
}
