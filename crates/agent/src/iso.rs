//! A small ISO 9660 writer, for config drives: Rock Ridge names for Linux and BSD, Joliet names for Windows.
//!
//! ```text
//! sector 16 primary descriptor │ 17 Joliet descriptor │ 18 terminator │ 19–22 path tables (L and M of each tree)
//!        23… directories of the primary tree │ directories of the Joliet tree │ files, shared by both trees
//! ```

use std::collections::BTreeMap;

const SECTOR: usize = 2048;
/// The first free sector for directories.
const FIRST_DIRECTORY: usize = 23;
/// 1 January 2020: the image depends only on its files.
const DATE: [u8; 7] = [120, 1, 1, 0, 0, 0, 0];

/// The two trees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// ISO 9660 level 1 names, with Rock Ridge beside.
    Primary,
    /// UCS-2 names.
    Joliet,
}

#[derive(Default)]
struct Directory {
    parent: usize,
    name: String,
    directories: BTreeMap<String, usize>,
    files: BTreeMap<String, usize>,
}

struct Layout {
    directories: Vec<Directory>,
    /// First sector and sectors of each directory, per tree.
    extents: [Vec<(usize, usize)>; 2],
    /// First sector and length of each file.
    files: Vec<(usize, usize)>,
    sectors: usize,
}

/// An image labelled `label` with these files; directories come from the slashes in their paths.
///
/// Meant for a few small files: a directory's records must fit the image's 32-bit sizes, and paths must be ASCII.
pub(crate) fn write(label: &str, files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let layout = lay_out(files);
    let mut image = vec![0; layout.sectors * SECTOR];
    put(&mut image, 16, &descriptor(Tree::Primary, label, &layout));
    put(&mut image, 17, &descriptor(Tree::Joliet, label, &layout));
    put(&mut image, 18, b"\xffCD001\x01");
    for (n, tree) in [Tree::Primary, Tree::Joliet].into_iter().enumerate() {
        put(&mut image, 19 + 2 * n, &path_table(tree, &layout, false));
        put(&mut image, 20 + 2 * n, &path_table(tree, &layout, true));
        for index in 0..layout.directories.len() {
            put(&mut image, layout.extents[n][index].0, &records(tree, &layout, index));
        }
    }
    for ((sector, _), content) in layout.files.iter().zip(files.values()) {
        put(&mut image, *sector, content);
    }
    image
}

fn put(image: &mut [u8], sector: usize, bytes: &[u8]) {
    image[sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
}

fn lay_out(files: &BTreeMap<String, Vec<u8>>) -> Layout {
    let mut directories = vec![Directory::default()];
    for (number, path) in files.keys().enumerate() {
        let mut at = 0;
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                directories[at].files.insert(part.to_owned(), number);
            } else if let Some(next) = directories[at].directories.get(part) {
                at = *next;
            } else {
                let next = directories.len();
                directories[at].directories.insert(part.to_owned(), next);
                directories.push(Directory { parent: at, name: part.to_owned(), ..Default::default() });
                at = next;
            }
        }
    }
    let mut layout =
        Layout { directories, extents: Default::default(), files: Vec::new(), sectors: FIRST_DIRECTORY };
    for (n, tree) in [Tree::Primary, Tree::Joliet].into_iter().enumerate() {
        // The records' size does not depend on the extents, so zeroes are enough for measuring.
        layout.extents[n] = vec![(0, 1); layout.directories.len()];
        layout.files = vec![(0, 0); files.len()];
        for index in 0..layout.directories.len() {
            let sectors = records(tree, &layout, index).len().div_ceil(SECTOR);
            layout.extents[n][index] = (layout.sectors, sectors);
            layout.sectors += sectors;
        }
    }
    for (number, content) in files.values().enumerate() {
        layout.files[number] = (layout.sectors, content.len());
        layout.sectors += content.len().div_ceil(SECTOR);
    }
    layout
}

fn both16(n: usize) -> [u8; 4] {
    let n = n as u16;
    let [a, b] = n.to_le_bytes();
    [a, b, b, a]
}

fn both32(n: usize) -> [u8; 8] {
    let n = n as u32;
    let [a, b, c, d] = n.to_le_bytes();
    [a, b, c, d, d, c, b, a]
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// The name for readers without Rock Ridge and Joliet: upper case, 8.3, made unique by its index.
fn short_name(name: &str, place: usize, is_file: bool) -> Vec<u8> {
    let legal = |text: &str, max: usize| -> String {
        text.to_ascii_uppercase().chars().filter(char::is_ascii_alphanumeric).take(max).collect()
    };
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let stem = format!("{}{place:02}", legal(stem, 6));
    match is_file {
        true => format!("{stem}.{};1", legal(extension, 3)).into_bytes(),
        false => stem.into_bytes(),
    }
}

struct Entry<'a> {
    /// The identifier in this tree.
    id: Vec<u8>,
    /// The real name; `None` for `.` and `..`.
    name: Option<&'a str>,
    extent: (usize, usize),
    is_directory: bool,
    /// The root's own record announces Rock Ridge.
    announces: bool,
}

/// The records of a directory; no record crosses a sector.
fn records(tree: Tree, layout: &Layout, index: usize) -> Vec<u8> {
    let directory = &layout.directories[index];
    let extent = |index: usize| {
        let (sector, sectors) = layout.extents[tree as usize][index];
        (sector, sectors * SECTOR)
    };
    let dot = |id: u8, index: usize, announces: bool| Entry {
        id: vec![id],
        name: None,
        extent: extent(index),
        is_directory: true,
        announces,
    };
    let mut entries = vec![dot(0, index, index == 0), dot(1, directory.parent, false)];
    let children = directory.directories.iter().map(|(name, child)| (name, extent(*child), true));
    let files = directory.files.iter().map(|(name, file)| (name, layout.files[*file], false));
    let mut named: Vec<Entry<'_>> = children
        .chain(files)
        .enumerate()
        .map(|(place, (name, extent, is_directory))| Entry {
            id: match tree {
                Tree::Primary => short_name(name, place, !is_directory),
                Tree::Joliet => ucs2(name),
            },
            name: Some(name),
            extent,
            is_directory,
            announces: false,
        })
        .collect();
    named.sort_by(|a, b| a.id.cmp(&b.id));
    entries.extend(named);
    let mut bytes: Vec<u8> = Vec::new();
    for entry in &entries {
        let record = record(tree, entry);
        let room = SECTOR - bytes.len() % SECTOR;
        if record.len() > room {
            bytes.resize(bytes.len() + room, 0);
        }
        bytes.extend(record);
    }
    bytes
}

fn record(tree: Tree, entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(entry.extent.0));
    bytes.extend(both32(entry.extent.1));
    bytes.extend(DATE);
    bytes.push(if entry.is_directory { 2 } else { 0 });
    bytes.extend([0, 0]);
    bytes.extend(both16(1));
    bytes.push(entry.id.len() as u8);
    bytes.extend(&entry.id);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    if tree == Tree::Primary {
        bytes.extend(rock_ridge(entry));
    }
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes[0] = bytes.len() as u8;
    bytes
}

/// System use entries: the announcement of Rock Ridge (SP, ER), the mode (PX), the name (NM).
fn rock_ridge(entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if entry.announces {
        bytes.extend(b"SP\x07\x01\xbe\xef\x00");
    }
    let (mode, links) = if entry.is_directory { (0o040_555, 2) } else { (0o100_444, 1) };
    bytes.extend(b"PX\x24\x01");
    for value in [mode, links, 0, 0] {
        bytes.extend(both32(value));
    }
    if let Some(name) = entry.name {
        bytes.extend(b"NM");
        bytes.extend([(name.len() + 5) as u8, 1, 0]);
        bytes.extend(name.as_bytes());
    }
    if entry.announces {
        let id = b"RRIP_1991A";
        bytes.extend(b"ER");
        bytes.extend([(8 + id.len()) as u8, 1, id.len() as u8, 0, 0, 1]);
        bytes.extend(id);
    }
    bytes
}

/// The directories of a tree in order of depth, then parent. Both byte orders have the same content.
fn path_table(tree: Tree, layout: &Layout, big_endian: bool) -> Vec<u8> {
    let order = breadth_first(layout);
    let mut bytes = Vec::new();
    for index in &order {
        let directory = &layout.directories[*index];
        let id = match (*index, tree) {
            (0, _) => vec![0],
            (_, Tree::Joliet) => ucs2(&directory.name),
            (_, Tree::Primary) => {
                let siblings = &layout.directories[directory.parent].directories;
                let place = siblings.keys().position(|name| *name == directory.name).unwrap_or_default();
                short_name(&directory.name, place, false)
            }
        };
        let sector = layout.extents[tree as usize][*index].0 as u32;
        let parent = order.iter().position(|i| *i == directory.parent).unwrap_or_default() as u16 + 1;
        bytes.extend([id.len() as u8, 0]);
        match big_endian {
            true => {
                bytes.extend(sector.to_be_bytes());
                bytes.extend(parent.to_be_bytes());
            }
            false => {
                bytes.extend(sector.to_le_bytes());
                bytes.extend(parent.to_le_bytes());
            }
        }
        bytes.extend(&id);
        if id.len() % 2 == 1 {
            bytes.push(0);
        }
    }
    bytes
}

fn breadth_first(layout: &Layout) -> Vec<usize> {
    let mut order = vec![0];
    let mut at = 0;
    while let Some(index) = order.get(at).copied() {
        order.extend(layout.directories[index].directories.values());
        at += 1;
    }
    order
}

fn descriptor(tree: Tree, label: &str, layout: &Layout) -> Vec<u8> {
    let text = |text: &str, width: usize| -> Vec<u8> {
        let (mut bytes, blank) = match tree {
            Tree::Primary => (text.as_bytes().to_vec(), vec![b' ']),
            Tree::Joliet => (ucs2(text), vec![0, b' ']),
        };
        while bytes.len() + blank.len() <= width {
            bytes.extend(&blank);
        }
        bytes.resize(width, 0);
        bytes
    };
    // The kind of descriptor, its label and its size.
    let mut bytes = vec![if tree == Tree::Primary { 1 } else { 2 }];
    bytes.extend(b"CD001\x01\x00");
    bytes.extend(text("", 32));
    bytes.extend(text(label, 32));
    bytes.extend([0; 8]);
    bytes.extend(both32(layout.sectors));
    // The alphabet of names.
    let mut escape = [0; 32];
    if tree == Tree::Joliet {
        // UCS-2, level 3.
        escape[..3].copy_from_slice(b"%/E");
    }
    bytes.extend(escape);
    // One volume of one, and the position of the path tables.
    bytes.extend(both16(1));
    bytes.extend(both16(1));
    bytes.extend(both16(SECTOR));
    bytes.extend(both32(path_table(tree, layout, false).len()));
    let table = 19 + 2 * tree as u32;
    bytes.extend(table.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((table + 1).to_be_bytes());
    bytes.extend([0; 4]);
    // The root directory.
    let (sector, sectors) = layout.extents[tree as usize][0];
    let mut root = vec![34, 0];
    root.extend(both32(sector));
    root.extend(both32(sectors * SECTOR));
    root.extend(DATE);
    root.extend([2, 0, 0]);
    root.extend(both16(1));
    root.extend([1, 0]);
    bytes.extend(root);
    // Publisher, files and dates.
    for width in [128, 128, 128, 128, 37, 37, 37] {
        bytes.extend(text("", width));
    }
    for _ in 0..4 {
        // Dates: not set.
        bytes.extend([b'0'; 16]);
        bytes.push(0);
    }
    bytes.push(1);
    bytes
}

#[cfg(test)]
#[path = "iso_tests.rs"]
mod tests;
