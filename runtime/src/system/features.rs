//! What the kernel offers, found out by asking it: a program that calls the helper, a link that is refused for the right
//! reason. Each answer is remembered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya_obj::generated::bpf_insn;
use tapline_compiler::target::Feature;

use crate::sys::bpf::{
    ATTACH_KPROBE_MULTI, ATTACH_UPROBE_MULTI, BtfTarget, ExtInfo, LogRequest, PROG_TYPE_KPROBE, PROG_TYPE_TRACEPOINT,
    PROG_TYPE_TRACING, ProgLoad, When, link_kprobe_multi, link_uprobe_multi, prog_load,
};

/// Answers so far.
#[derive(Debug, Default)]
pub struct Features {
    known: RefCell<HashMap<Feature, bool>>,
}

/// Helpers that features stand for: the feature, a program type that may call it, the helper's number.
const HELPERS: [(Feature, u32, i32); 6] = [
    (Feature::AttachCookie, PROG_TYPE_TRACEPOINT, 174),
    (Feature::FuncIp, PROG_TYPE_KPROBE, 173),
    (Feature::Loop, PROG_TYPE_KPROBE, 181),
    (Feature::ForEachMapElem, PROG_TYPE_KPROBE, 164),
    (Feature::LookupPercpuElem, PROG_TYPE_KPROBE, 195),
    (Feature::KtimeTai, PROG_TYPE_KPROBE, 208),
];

impl Features {
    /// Whether the kernel has it.
    pub fn has(&self, feature: Feature) -> bool {
        if let Some(&known) = self.known.borrow().get(&feature) {
            return known;
        }
        let answer = probe(feature);
        self.known.borrow_mut().insert(feature, answer);
        answer
    }
}

fn probe(feature: Feature) -> bool {
    if let Some(&(_, prog_type, helper)) = HELPERS.iter().find(|row| row.0 == feature) {
        return has_helper(prog_type, helper);
    }
    match feature {
        Feature::Kprobe => has_pmu("kprobe"),
        Feature::KprobeMulti => has_pmu("kprobe") && has_kprobe_multi(),
        // Whether programs may ask where they run is seen from the kernel's types.
        Feature::KprobeSession => probe(Feature::KprobeMulti),
        Feature::UprobeMulti => has_pmu("uprobe") && has_uprobe_multi(),
        Feature::Fentry => has_direct_calls(),
        _ => Feature::BY_RELEASE.iter().any(|&(by_age, since)| by_age == feature && kernel_release() >= since),
    }
}

/// Whether perf has events of that kind.
pub fn has_pmu(name: &str) -> bool {
    Path::new("/sys/bus/event_source/devices").join(name).join("type").exists()
}

/// fentry needs ftrace with direct calls; a kernel that has it lists the functions it could attach to.
fn has_direct_calls() -> bool {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].iter().any(|root| {
        let path = Path::new(root).join("available_filter_functions");
        let mut first = [0u8; 1];
        std::fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut first)).is_ok_and(|n| n > 0)
    })
}

fn insn(code: u8, imm: i32) -> bpf_insn {
    bpf_insn { code, _bitfield_align_1: [], _bitfield_1: bpf_insn::new_bitfield_1(0, 0), off: 0, imm }
}

const MOV64_IMM: u8 = 0xb7;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

fn load(prog_type: u32, attach_type: u32, insns: &[bpf_insn], log: &mut Vec<u8>) -> std::io::Result<OwnedFd> {
    let program = ProgLoad {
        prog_type,
        expected_attach_type: attach_type,
        name: "feature",
        insns,
        license: c"GPL",
        btf: None,
        func_info: ExtInfo::default(),
        line_info: ExtInfo::default(),
        target: None,
    };
    prog_load(&program, Some(LogRequest { level: 1, capacity: 4096 }), log)
}

/// Whether programs of a type may call a helper. The call's arguments are nonsense: what counts is what the verifier
/// complains about.
pub fn has_helper(prog_type: u32, helper: i32) -> bool {
    let mut log = Vec::new();
    let insns = [insn(CALL, helper), insn(MOV64_IMM, 0), insn(EXIT, 0)];
    match load(prog_type, 0, &insns, &mut log) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => false,
        Err(_) => {
            let log = String::from_utf8_lossy(&log);
            !log.is_empty()
                && !["invalid func ", "unknown func ", "cannot use helper "].iter().any(|text| log.contains(text))
        }
    }
}

/// Whether programs of a type may call a function of the kernel, given by its id. As for helpers, the arguments are nonsense.
pub fn kfunc_allowed((prog_type, attach_type): (u32, u32), id: u32, function: Option<u32>) -> bool {
    /// `BPF_PSEUDO_KFUNC_CALL`, in the place of the source register.
    const KFUNC: u8 = 2;
    let Ok(imm) = i32::try_from(id) else { return false };
    let mut call = insn(CALL, imm);
    call._bitfield_1 = bpf_insn::new_bitfield_1(0, KFUNC);
    let mut insns: Vec<bpf_insn> = (1..=5).map(zero).collect();
    insns.extend([call, insn(MOV64_IMM, 0), insn(EXIT, 0)]);
    let program = ProgLoad {
        prog_type,
        expected_attach_type: attach_type,
        name: "feature",
        insns: &insns,
        license: c"GPL",
        btf: None,
        func_info: ExtInfo::default(),
        line_info: ExtInfo::default(),
        target: function.filter(|_| prog_type == PROG_TYPE_TRACING).map(|id| BtfTarget { id, module: None }),
    };
    let mut log = Vec::new();
    if prog_load(&program, Some(LogRequest { level: 1, capacity: 4096 }), &mut log).is_ok() {
        return true;
    }
    let log = String::from_utf8_lossy(&log);
    !log.is_empty() && !["is not allowed", "not supported", "reserved fields"].iter().any(|text| log.contains(text))
}

/// Sets a register to 0.
fn zero(register: u8) -> bpf_insn {
    bpf_insn { _bitfield_1: bpf_insn::new_bitfield_1(register, 0), ..insn(MOV64_IMM, 0) }
}

/// A link to no function at all is `EINVAL` where links over many functions exist, and `EOPNOTSUPP` where they do not
/// (they came with Linux 5.18).
fn has_kprobe_multi() -> bool {
    let insns = [insn(MOV64_IMM, 0), insn(EXIT, 0)];
    let Ok(program) = load(PROG_TYPE_KPROBE, ATTACH_KPROBE_MULTI, &insns, &mut Vec::new()) else { return false };
    match link_kprobe_multi(program.as_fd(), &[], &[], When::Entry) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::EINVAL) && kernel_release() >= (5, 18),
    }
}

/// Links over many user probes came with Linux 6.6: a link to a folder is `EBADF` there. The first ones took a process for a thread; those
/// that do not look at the pid before the path have that mistake.
fn has_uprobe_multi() -> bool {
    let insns = [insn(MOV64_IMM, 0), insn(EXIT, 0)];
    let Ok(program) = load(PROG_TYPE_KPROBE, ATTACH_UPROBE_MULTI, &insns, &mut Vec::new()) else { return false };
    let error = |pid| {
        let link = link_uprobe_multi(program.as_fd(), c"/", &[0], &[0], false, pid);
        link.err().and_then(|error| error.raw_os_error())
    };
    error(None) == Some(libc::EBADF) && error(Some(u32::MAX)) == Some(libc::EINVAL)
}

/// Major and minor number of the running kernel; zeros when they cannot be told.
pub fn kernel_release() -> (u32, u32) {
    parse_release(&std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())
}

/// The first two numbers in the name of a release, zeros where there are none.
pub fn parse_release(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_numbers() {
        assert_eq!(parse_release("6.12.48+deb13-cloud-amd64\n"), (6, 12));
        assert_eq!(parse_release("7.0-rc1"), (7, 0));
        assert_eq!(parse_release(""), (0, 0));
    }

    #[test]
    fn answers_are_remembered() {
        let features = Features::default();
        features.known.borrow_mut().insert(Feature::Loop, true);
        assert!(features.has(Feature::Loop));
    }
}
