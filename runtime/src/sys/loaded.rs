//! bpf(2): the programs and the types that the kernel holds, whoever has loaded them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::bpf::{InfoAttr, OBJ_GET_INFO_BY_FD, bpf, object_info, owned};

const PROG_GET_NEXT_ID: libc::c_int = 11;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const BTF_GET_FD_BY_ID: libc::c_int = 19;
const BTF_GET_NEXT_ID: libc::c_int = 23;

/// Words of `struct bpf_prog_info` up to the number of its functions.
const INFO_WORDS: usize = 19;

#[repr(C)]
#[derive(Default)]
struct NextIdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
    pad: u32,
}

/// Ids of all programs.
pub fn program_ids() -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut next = NextIdAttr::default();
    loop {
        // SAFETY: no pointers.
        match unsafe { bpf(PROG_GET_NEXT_ID, &mut next) } {
            Ok(_) => ids.push(next.next_id),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ids),
            Err(e) => return Err(e),
        }
        next.id = next.next_id;
    }
}

/// A program by its id.
pub fn program(id: u32) -> io::Result<OwnedFd> {
    let mut attr = NextIdAttr { id, ..NextIdAttr::default() };
    // SAFETY: no pointers.
    unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }.map(owned)
}

/// What a program tells about its types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramTypes {
    /// Id of its BTF; 0 when it has none.
    pub btf: u32,
    /// Ids in it of the program's functions, the program itself first.
    pub functions: Vec<u32>,
}

/// The types of a program.
pub fn program_types(id: u32) -> io::Result<ProgramTypes> {
    let program = program(id)?;
    let [.., btf, _, count] = object_info::<INFO_WORDS>(program.as_fd())?;
    // Each of these words holds two numbers of 32 bits.
    let (btf, record_size, count) = (btf as u32, (btf >> 32) as usize, count as u32 as usize);
    if btf == 0 || record_size < 8 || count == 0 {
        return Ok(ProgramTypes { btf, functions: Vec::new() });
    }
    let mut records = vec![0u8; record_size.saturating_mul(count)];
    let mut words = [0u64; INFO_WORDS];
    // The kernel wants to know the size of a record and their number, and where they shall go.
    let [.., sizes, place, number] = &mut words;
    *sizes = (record_size as u64) << 32;
    *place = records.as_mut_ptr() as u64;
    *number = count as u64;
    let mut attr = InfoAttr {
        fd: program.as_raw_fd() as u32,
        info_len: size_of_val(&words) as u32,
        info: words.as_mut_ptr() as u64,
    };
    // SAFETY: `words` has `info_len` bytes, and `records` room for as many records of that size as it says; both live until
    // after the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    // A record begins with the offset of the first instruction, then the id.
    let id_of = |record: &[u8]| Some(u32::from_ne_bytes(record.get(4..8)?.try_into().ok()?));
    Ok(ProgramTypes { btf, functions: records.chunks_exact(record_size).filter_map(id_of).collect() })
}

/// The BTF of an id.
pub fn btf_data(id: u32) -> io::Result<Vec<u8>> {
    let fd = btf_by_id(id)?;
    let mut data = Vec::new();
    // The first time it only says its size.
    for _ in 0..2 {
        let mut info = BtfInfo {
            btf: if data.is_empty() { 0 } else { data.as_mut_ptr() as u64 },
            btf_size: u32::try_from(data.len()).map_err(io::Error::other)?,
            ..BtfInfo::default()
        };
        let mut attr = InfoAttr {
            fd: fd.as_raw_fd() as u32,
            info_len: size_of::<BtfInfo>() as u32,
            info: std::ptr::from_mut(&mut info) as u64,
        };
        // SAFETY: `info` has `info_len` bytes, `data` has `btf_size`; both live until after the call.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
        data.resize(info.btf_size as usize, 0);
    }
    Ok(data)
}

/// `struct bpf_btf_info`.
#[repr(C)]
#[derive(Default)]
struct BtfInfo {
    btf: u64,
    btf_size: u32,
    id: u32,
    name: u64,
    name_len: u32,
    kernel_btf: u32,
}

/// BTF by its id.
fn btf_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = NextIdAttr { id, ..NextIdAttr::default() };
    // SAFETY: no pointers.
    unsafe { bpf(BTF_GET_FD_BY_ID, &mut attr) }.map(owned)
}

/// The BTF of a kernel module as the kernel holds it.
pub fn kernel_btf(module: &str) -> io::Result<OwnedFd> {
    let mut id = 0;
    loop {
        let mut next = NextIdAttr { id, ..NextIdAttr::default() };
        // SAFETY: no pointers. The end of the list is `NotFound`, which is what the caller wants to know.
        unsafe { bpf(BTF_GET_NEXT_ID, &mut next) }?;
        id = next.next_id;
        let Ok(fd) = btf_by_id(id) else { continue };
        let mut name = [0u8; 64];
        let mut info = BtfInfo { name: name.as_mut_ptr() as u64, name_len: name.len() as u32, ..BtfInfo::default() };
        let mut attr = InfoAttr {
            fd: fd.as_raw_fd() as u32,
            info_len: size_of::<BtfInfo>() as u32,
            info: std::ptr::from_mut(&mut info) as u64,
        };
        // SAFETY: `info` has `info_len` bytes, and `name` has `name_len`.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
        if info.kernel_btf == 1 && name.split(|&b| b == 0).next() == Some(module.as_bytes()) {
            return Ok(fd);
        }
    }
}
