//! A guest that counts: what it says shows whether its memory went on, and whether it started anew.

use super::{Cloud, Wish, order, qemu};
use lenticular_model::{DiskId, ServerId};
use lenticular_wire::agent::{Content, DiskSpec};
use std::time::{Duration, Instant};

/// Writes a growing number to its root disk, to its second disk and to its console. At each boot, it first says what
/// its second disk has.
const COUNTER: &str = "#!/bin/sh\n\
    cat > /var/lib/persist/boot <<'END'\n\
    #!/bin/sh\n\
    for b in /sys/block/vd*; do [ \"$(cat $b/serial 2>/dev/null)\" = SERIAL ] && d=/dev/${b##*/}; done\n\
    echo \"second disk: $(head -c 16 $d | tr -d '\\000')\" > /dev/ttyS0\n\
    (n=$(cat /var/lib/persist/n 2>/dev/null || echo 0); while true; do n=$((n+1)); \
    echo $n > /var/lib/persist/n; printf 'held %011d' $n > $d; echo \"count $n\" > /dev/ttyS0; sleep 0.1; done) &\n\
    END\n\
    chmod 755 /var/lib/persist/boot\n";

/// The numbers on a console.
pub fn counts(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.trim().strip_prefix("count ")?.parse().ok()).collect()
}

/// The numbers on the console, once there are this many more.
pub async fn more_counts(cloud: &Cloud, id: ServerId, more: usize) -> Vec<u64> {
    let until = Instant::now() + Duration::from_secs(60);
    let had = counts(&cloud.console(id, None).await.unwrap_or_default()).len();
    loop {
        let now = counts(&cloud.console(id, None).await.unwrap_or_default());
        if now.len() >= had + more {
            return now;
        }
        assert!(Instant::now() < until, "the guest does not count on: {now:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The user data of a guest that counts.
pub fn counter() -> Vec<u8> {
    COUNTER.replace("SERIAL", &second(2).to_string()[..20]).into_bytes()
}

/// The order for a guest that counts, with three disks.
pub fn counting(id: ServerId) -> Wish {
    let mut wish = order(id, &qemu::sha512(&qemu::image().unwrap()));
    wish.guest.has_user_data = true;
    let more = |n: u8, bytes, content| DiskSpec { id: second(n), generation: 1, bytes, content, tag: None };
    wish.guest.disks.push(more(2, 64 << 20, Content::Blank));
    wish.guest.disks.push(more(3, 16 << 20, Content::Swap));
    wish
}

fn second(n: u8) -> DiskId {
    DiskId::from_random([n; 16])
}
