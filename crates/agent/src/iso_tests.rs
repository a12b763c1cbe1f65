//! Reads images back: with a reader of our own for both trees, and with xorriso where it is installed.
#![expect(clippy::disallowed_methods, reason = "the test asks another implementation")]

use super::*;

fn le32(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize
}

/// All files below a directory, by the names of the tree.
fn walk(image: &[u8], tree: Tree, record: &[u8], at: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    let (sector, length) = (le32(&record[2..]), le32(&record[10..]));
    let content = &image[sector * SECTOR..][..length];
    if record[25] & 2 == 0 {
        found.insert(at.to_owned(), content.to_vec());
        return;
    }
    let mut offset = 0;
    while offset < content.len() {
        let size = usize::from(content[offset]);
        if size == 0 {
            offset = (offset / SECTOR + 1) * SECTOR;
            continue;
        }
        let child = &content[offset..][..size];
        offset += size;
        let id = &child[33..][..usize::from(child[32])];
        if id == [0] || id == [1] {
            continue;
        }
        let name = match tree {
            Tree::Joliet => {
                let units: Vec<u16> = id.chunks(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
                String::from_utf16(&units).unwrap()
            }
            Tree::Primary => {
                let at = child.windows(2).position(|w| w == b"NM").unwrap();
                String::from_utf8(child[at + 5..at + usize::from(child[at + 2])].to_vec()).unwrap()
            }
        };
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        walk(image, tree, child, &path, found);
    }
}

fn sample() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    files.insert("openstack/latest/meta_data.json".to_owned(), b"{\"a\": 1}".to_vec());
    files.insert("openstack/latest/user_data".to_owned(), vec![b'x'; 5000]);
    files.insert("openstack/latest/network_data.json".to_owned(), Vec::new());
    files.insert("ec2/latest/meta-data.json".to_owned(), b"{}".to_vec());
    for n in 0..40 {
        files.insert(format!("many/a_file_with_a_long_name_{n}.json"), vec![n; usize::from(n)]);
    }
    files
}

#[test]
fn both_trees_hold_all_files_under_their_names() {
    let files = sample();
    let image = write("config-2", &files);
    for (sector, tree) in [(16, Tree::Primary), (17, Tree::Joliet)] {
        let root = &image[sector * SECTOR + 156..][..34];
        let mut found = BTreeMap::new();
        walk(&image, tree, root, "", &mut found);
        assert_eq!(found, files);
    }
    assert_eq!(&image[16 * SECTOR + 40..][..9], b"config-2 ");
}

#[test]
fn xorriso_reads_it_if_there() {
    let Some(xorriso) = crate::exec::which("xorriso") else { return };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("drive.iso");
    std::fs::write(&image, write("config-2", &sample())).unwrap();
    let out = dir.path().join("out");
    let mut command = std::process::Command::new(xorriso);
    command.args(["-osirrox", "on", "-indev"]).arg(&image).args(["-extract", "/"]).arg(&out);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("'config-2'"), "{text}");
    for (path, content) in sample() {
        assert_eq!(std::fs::read(out.join(&path)).unwrap(), content, "{path}");
    }
}
