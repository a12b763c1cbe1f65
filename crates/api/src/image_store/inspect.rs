//! Checks an image's real format and size by its headers, before the image is accepted.
//!
//! A disk image can name other files: a qcow2 backing or data file, or a VMDK descriptor with foreign extents. A
//! program that opens such an image reads those files with the host's rights (OSSA-2024-001). So an image is
//! accepted only if it has its declared format and needs no other file. The parser reads a bounded head and tail,
//! and trusts no field in them. Formats: QEMU `docs/interop/qcow2`, VMware Virtual Disk Format 5.0, Microsoft VHD
//! and VHDX, ECMA-119.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// How much of the image's beginning is read, in bytes.
pub const HEAD_BYTES: usize = 128 * 1024;

/// The result of an inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The size that a guest sees, in bytes, if the format says so.
    pub virtual_size: Option<u64>,
}

/// The reason for a refused image, for the client that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// Checks a file against its declared format.
///
/// # Errors
/// The outer error is about the file; the inner error refuses the content.
pub fn file(path: &Path, declared: &str) -> io::Result<Result<Inspected, Refused>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let mut tail = [0; 512];
    if size >= 512 {
        file.seek(SeekFrom::End(-512))?;
        file.read_exact(&mut tail)?;
    }
    Ok(judge(&head, &tail, size, declared))
}

/// Checks the beginning and the last 512 bytes of an image of `size` bytes.
pub fn judge(head: &[u8], tail: &[u8], size: u64, declared: &str) -> Result<Inspected, Refused> {
    let is = detect(head, tail);
    match declared {
        "qcow2" if is == Some("qcow2") => qcow2(head, size),
        "vmdk" if is == Some("vmdk") => vmdk(head),
        "vdi" if is == Some("vdi") => vdi(head),
        "vhd" if is == Some("vhd") => Ok(Inspected { virtual_size: be64(tail, 48).or(be64(head, 48)) }),
        "vhdx" if is == Some("vhdx") => Ok(Inspected { virtual_size: None }),
        "iso" if is == Some("iso") => Ok(Inspected { virtual_size: Some(size) }),
        // Raw bytes may hold anything except a disk format that another program would open. An ISO can boot as
        // raw.
        "raw" => match is {
            None | Some("iso") => Ok(Inspected { virtual_size: Some(size) }),
            Some(other) => Err(mismatch(declared, other)),
        },
        "ami" | "ari" | "aki" | "ploop" => match is {
            None => Ok(Inspected { virtual_size: None }),
            Some(other) => Err(mismatch(declared, other)),
        },
        _ => Err(mismatch(declared, is.unwrap_or("something else"))),
    }
}

fn mismatch(declared: &str, is: &str) -> Refused {
    Refused(format!(
        "The image's content is {is}, but it was declared to be {declared}. Create the image again with the right disk_format."
    ))
}

fn detect(head: &[u8], tail: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"QFI\xfb") {
        return Some("qcow2");
    }
    if head.starts_with(b"KDMV") || head.starts_with(b"COWD") || head.starts_with(b"# Disk DescriptorFile") {
        return Some("vmdk");
    }
    if le32(head, 64) == Some(0xbeda_107f) {
        return Some("vdi");
    }
    if head.starts_with(b"vhdxfile") {
        return Some("vhdx");
    }
    if head.starts_with(b"conectix") || tail.starts_with(b"conectix") {
        return Some("vhd");
    }
    if head.starts_with(b"QED\0") {
        return Some("qed");
    }
    if head.starts_with(b"LUKS\xba\xbe") {
        return Some("luks");
    }
    if head.get(0x8001..0x8006) == Some(b"CD001") {
        return Some("iso");
    }
    None
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    bytes(data, at).map(u32::from_be_bytes)
}

fn be64(data: &[u8], at: usize) -> Option<u64> {
    bytes(data, at).map(u64::from_be_bytes)
}

fn le32(data: &[u8], at: usize) -> Option<u32> {
    bytes(data, at).map(u32::from_le_bytes)
}

fn le64(data: &[u8], at: usize) -> Option<u64> {
    bytes(data, at).map(u64::from_le_bytes)
}

fn cut_short(format: &str) -> Refused {
    Refused(format!("The image's {format} header is cut short."))
}

fn qcow2(head: &[u8], size: u64) -> Result<Inspected, Refused> {
    let short = || cut_short("qcow2");
    let version = be32(head, 4).ok_or_else(short)?;
    if !(2..=3).contains(&version) {
        return Err(Refused(format!(
            "qcow2 version {version} is not supported; convert the image to version 3."
        )));
    }
    if be64(head, 8).ok_or_else(short)? != 0 || be32(head, 16).ok_or_else(short)? != 0 {
        return Err(Refused(
            "The image has a backing file. Images must stand alone: flatten it with qemu-img convert.".into(),
        ));
    }
    let cluster_bits = be32(head, 20).ok_or_else(short)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(Refused(format!("The image's qcow2 header is damaged: cluster_bits is {cluster_bits}.")));
    }
    let virtual_size = be64(head, 24).ok_or_else(short)?;
    // No flavor offers more, and a number near 2^64 may be meant to overflow a sum.
    if virtual_size > 1 << 50 {
        return Err(Refused("The image claims to be larger than 1 PiB.".into()));
    }
    if be32(head, 32).ok_or_else(short)? != 0 {
        return Err(Refused("The image is encrypted, and hosts have no key for it.".into()));
    }
    let l1_offset = be64(head, 40).ok_or_else(short)?;
    if l1_offset > size {
        return Err(Refused(
            "The image's qcow2 header points behind its end: the upload is incomplete.".into(),
        ));
    }
    let mut header_length = 72;
    if version == 3 {
        let incompatible = be64(head, 72).ok_or_else(short)?;
        const DATA_FILE: u64 = 1 << 2;
        if incompatible & DATA_FILE != 0 {
            return Err(Refused("The image keeps its data in another file. Images must stand alone: flatten it with qemu-img convert.".into()));
        }
        // Known feature bits: dirty, corrupt, external data, compression type, extended L2.
        if incompatible & !0b1_1111 != 0 {
            return Err(Refused(format!("The image uses unknown qcow2 features ({incompatible:#x}).")));
        }
        header_length = be32(head, 100).ok_or_else(short)? as usize;
    }
    extensions(head, header_length)?;
    Ok(Inspected { virtual_size: Some(virtual_size) })
}

/// Checks the header's extensions for an extension that names another file.
fn extensions(head: &[u8], start: usize) -> Result<(), Refused> {
    const DATA_FILE_NAME: u32 = 0x4441_5441;
    const BACKING_FORMAT: u32 = 0xe279_2aca;
    let mut at = start;
    while let (Some(kind), Some(length)) = (be32(head, at), be32(head, at.saturating_add(4))) {
        match kind {
            0 => return Ok(()),
            DATA_FILE_NAME | BACKING_FORMAT => {
                return Err(Refused(
                    "The image's header names another file. Images must stand alone.".into(),
                ));
            }
            _ => at = at.saturating_add(8).saturating_add((length as usize).saturating_add(7) & !7),
        }
    }
    Ok(())
}

fn vmdk(head: &[u8]) -> Result<Inspected, Refused> {
    let short = || cut_short("vmdk");
    if !head.starts_with(b"KDMV") {
        return Err(Refused("Only sparse VMDK images that hold their own data are accepted, not descriptors that name other files.".into()));
    }
    let capacity = le64(head, 12).ok_or_else(short)?;
    let offset = le64(head, 28).ok_or_else(short)?.saturating_mul(512);
    let length = le64(head, 36).ok_or_else(short)?.saturating_mul(512);
    let start = usize::try_from(offset).map_err(|_| short())?;
    let end = start.saturating_add(usize::try_from(length).map_err(|_| short())?).min(head.len());
    let descriptor = head.get(start..end).filter(|d| !d.is_empty()).ok_or_else(|| {
        Refused("The VMDK image has no embedded descriptor, so what it refers to cannot be checked.".into())
    })?;
    // Without a capacity, QEMU reads the file as a descriptor and ignores its first bytes.
    if capacity == 0 {
        return Err(Refused("The VMDK image has no capacity.".into()));
    }
    vmdk_descriptor(&String::from_utf8_lossy(descriptor).to_lowercase())?;
    Ok(Inspected { virtual_size: capacity.checked_mul(512) })
}

/// Reads the descriptor more strictly than any program would: it refuses everything ambiguous.
fn vmdk_descriptor(text: &str) -> Result<(), Refused> {
    // Some readers use the first entry, others the last, and some read comments: only one entry is allowed.
    let kinds: Vec<&str> = text.match_indices("createtype").map(|(at, _)| &text[at..]).collect();
    let kind = match kinds[..] {
        [only] => only.lines().next().and_then(|line| line.split('=').nth(1)).unwrap_or(""),
        _ => return Err(Refused("The VMDK image's descriptor must name its type exactly once.".into())),
    };
    let kind = kind.trim().trim_matches(|c: char| c == '"' || c == '\0' || c.is_whitespace());
    if !matches!(kind, "monolithicsparse" | "streamoptimized") {
        return Err(Refused(format!(
            "VMDK images of type {kind:?} are not accepted; convert it to monolithicSparse or streamOptimized."
        )));
    }
    // One sparse extent in this very file: a path would lead to another file.
    let is_extent = |line: &&str| {
        let access = line.split_whitespace().next().unwrap_or("");
        matches!(access, "rw" | "rdonly" | "noaccess")
    };
    let extents: Vec<&str> = text.lines().filter(is_extent).collect();
    let own = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() >= 4 && words[2] == "sparse" && !line.contains(['/', '\\'])
    };
    match extents[..] {
        [only] if own(only) => Ok(()),
        _ => Err(Refused("The VMDK image refers to other files. Images must stand alone.".into())),
    }
}

fn vdi(head: &[u8]) -> Result<Inspected, Refused> {
    let kind = le32(head, 76).ok_or_else(|| cut_short("vdi"))?;
    // 1 is fixed or dynamic, 2 static; other types are differences to another image.
    if !(1..=2).contains(&kind) {
        return Err(Refused("The VDI image is a difference to another one. Images must stand alone.".into()));
    }
    Ok(Inspected { virtual_size: le64(head, 368) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qcow2_head() -> Vec<u8> {
        let mut head = vec![0; 65_536];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[4..8].copy_from_slice(&3_u32.to_be_bytes());
        head[20..24].copy_from_slice(&16_u32.to_be_bytes());
        head[24..32].copy_from_slice(&(128_u64 << 20).to_be_bytes());
        head[100..104].copy_from_slice(&104_u32.to_be_bytes());
        head
    }

    fn verdict(head: &[u8], declared: &str) -> Result<Inspected, Refused> {
        judge(head, &[0; 512], 1 << 20, declared)
    }

    #[test]
    fn an_image_that_stands_alone_is_accepted() {
        assert_eq!(verdict(&qcow2_head(), "qcow2").unwrap().virtual_size, Some(128 << 20));
        assert_eq!(verdict(&[0; 4096], "raw").unwrap().virtual_size, Some(1 << 20));
    }

    #[test]
    fn an_image_that_names_another_file_is_refused() {
        let mut backing = qcow2_head();
        backing[8..16].copy_from_slice(&1024_u64.to_be_bytes());
        assert!(verdict(&backing, "qcow2").unwrap_err().0.contains("backing file"));
        let mut data_file = qcow2_head();
        data_file[72..80].copy_from_slice(&4_u64.to_be_bytes());
        assert!(verdict(&data_file, "qcow2").unwrap_err().0.contains("another file"));
        let mut extension = qcow2_head();
        extension[104..108].copy_from_slice(&0x4441_5441_u32.to_be_bytes());
        extension[108..112].copy_from_slice(&8_u32.to_be_bytes());
        assert!(verdict(&extension, "qcow2").unwrap_err().0.contains("names another file"));
        assert!(verdict(b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0", "vmdk").is_err());
        let mut sparse = vec![0; 4096];
        sparse[..4].copy_from_slice(b"KDMV");
        sparse[12..20].copy_from_slice(&8_u64.to_le_bytes());
        sparse[28..36].copy_from_slice(&1_u64.to_le_bytes());
        sparse[36..44].copy_from_slice(&2_u64.to_le_bytes());
        let text = b"createType=\"monolithicSparse\"\nRW 8 SPARSE \"/etc/passwd\"\n";
        sparse[512..512 + text.len()].copy_from_slice(text);
        assert!(verdict(&sparse, "vmdk").unwrap_err().0.contains("other files"));
        let own = b"createType=\"monolithicSparse\"\nRW 8 SPARSE \"a.vmdk\"\n      ";
        sparse[512..512 + own.len()].copy_from_slice(own);
        assert!(verdict(&sparse, "vmdk").is_ok());
        // Content that QEMU would read in another way: a type in a comment, a second extent behind tabs, no
        // capacity.
        for trick in [
            &b"# createType=\"monolithicFlat\"\ncreateType=\"monolithicSparse\"\nRW 8 SPARSE \"a\"\n"[..],
            b"createType=\"monolithicSparse\"\nRDONLY 8 SPARSE \"a\"\nRW\t8\tFLAT\t\"s\"\t0\n",
            b"createType=\"monolithicSparse\"\nRW\t8\tFLAT\t\"s\"\t0\n",
        ] {
            let mut tricked = sparse.clone();
            tricked[512..1024].fill(0);
            tricked[512..512 + trick.len()].copy_from_slice(trick);
            assert!(verdict(&tricked, "vmdk").is_err(), "{}", String::from_utf8_lossy(trick));
        }
        sparse[12..20].fill(0);
        assert!(verdict(&sparse, "vmdk").is_err());
        let mut encrypted = qcow2_head();
        encrypted[32..36].copy_from_slice(&2_u32.to_be_bytes());
        assert!(verdict(&encrypted, "qcow2").unwrap_err().0.contains("encrypted"));
    }

    #[test]
    fn a_format_passes_only_under_its_own_name() {
        for declared in ["raw", "vmdk", "iso", "vhd", "ami", "nonsense"] {
            assert!(verdict(&qcow2_head(), declared).is_err(), "{declared}");
        }
        assert!(verdict(&[0; 4096], "qcow2").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_judge_fail(
            mut head in proptest::collection::vec(0_u8.., 0..2048),
            magic in proptest::sample::select(vec![&b"QFI\xfb\0\0\0\x03"[..], b"KDMV", b"vhdxfile", b"conectix", b""]),
            declared in proptest::sample::select(vec!["qcow2", "vmdk", "vdi", "vhd", "vhdx", "raw", "iso"]),
        ) {
            let length = magic.len().min(head.len());
            head[..length].copy_from_slice(&magic[..length]);
            let _ = judge(&head, &[0; 512], head.len() as u64, declared);
        }
    }
}
