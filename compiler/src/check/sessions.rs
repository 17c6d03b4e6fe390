//! Entries and returns of the same functions share one program and one link, where the kernel can do that: each function is then
//! patched once, and a call passes through one handler.
//!
//! Only what wildcards have found is joined. A function that a script names may be one that links over many functions do not reach, and
//! to find that out takes reading a list for which the kernel needs longer than for the attachment.

use super::Checker;
use super::group::Unit;
use crate::program::ProgramKind;
use crate::target::Feature;
use crate::typed::Session;
use crate::types::btf::KindSet;

/// The function of the kernel that tells a program of a session where it runs.
const IS_RETURN: &str = "bpf_session_is_return";

impl Checker<'_> {
    /// Joins the units whose functions are the same, one of entries with one of returns.
    pub(super) fn join_sessions(&self, units: &mut [Unit]) {
        let of_kind = |kind| -> Vec<usize> {
            units.iter().enumerate().filter(|(_, unit)| unit.kind == kind).map(|(at, _)| at).collect()
        };
        let (entries, mut exits) = (of_kind(ProgramKind::KprobeMulti), of_kind(ProgramKind::KretprobeMulti));
        let mut kernel = None;
        for entry in entries {
            let step_to = |exit: usize| self.step(units.get(entry)?, units.get(exit)?);
            let found = exits.iter().enumerate().find_map(|(at, exit)| Some((at, step_to(*exit)?)));
            let Some((at, step)) = found else { continue };
            // The kernel is asked only where it matters.
            let Some(is_return) = *kernel.get_or_insert_with(|| self.is_return()) else { return };
            let returns = exits.remove(at);
            for (at, part) in [(entry, Session::Entry { returns, is_return }), (returns, Session::Return { step })] {
                if let Some(unit) = units.get_mut(at) {
                    unit.kind = ProgramKind::KprobeSession;
                    unit.session = Some(part);
                }
            }
        }
    }

    /// How much further on the returns of the same functions stand; `None` when they are not the same in the same order.
    fn step(&self, entry: &Unit, exit: &Unit) -> Option<i64> {
        let mut pairs = entry.points.iter().zip(&exit.points).map(|(entry, exit)| {
            let same = self.probes.get(*entry)?.attach == self.probes.get(*exit)?.attach;
            same.then(|| i64::from(exit.0) - i64::from(entry.0))
        });
        let step = pairs.next()??;
        (entry.points.len() == exit.points.len() && pairs.all(|other| other == Some(step))).then_some(step)
    }

    /// Id of that function in the kernel's BTF.
    fn is_return(&self) -> Option<u32> {
        if !self.target.has(Feature::KprobeSession) {
            return None;
        }
        let id = self.target.btf()?.find(KindSet::FUNC, IS_RETURN)?.0;
        self.target.kfunc_allowed(ProgramKind::KprobeSession, id).then_some(id)
    }
}
