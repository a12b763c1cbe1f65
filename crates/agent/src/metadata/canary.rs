//! What a canary's firmware (iPXE) asks for: its script, and with each turn of the script what the guest knows.

use super::{Guests, documents::Answer};
use lenticular_model::{host::canary::SCRIPT, network::network::METADATA_V4};
use std::{fmt::Write, net::Ipv4Addr};

/// Answers the canary for a path below [`SCRIPT`].
pub(super) fn answer(guests: &Guests, path: &str) -> Answer {
    let rest: Vec<&str> = path.strip_prefix(SCRIPT).unwrap_or_default().split('/').skip(1).collect();
    match rest[..] {
        [] => {
            guests.canary_starts();
            Answer::text(script(&guests.peers()))
        }
        [clock, reached] => {
            let clock_s = clock.strip_prefix("0x").and_then(|hex| i64::from_str_radix(hex, 16).ok());
            let Some(clock_s) = clock_s else { return Answer::refusal(400, "No clock shows this.") };
            guests.canary_says(clock_s, reached.parse().ok());
            Answer::text("ok\n")
        }
        _ => Answer::refusal(
            404,
            "A canary asks for its script, or tells its clock and the host that it reached.",
        ),
    }
}

/// A script that tells the guest's clock once a second, and the first of these hosts that answered.
fn script(peers: &[Ipv4Addr]) -> String {
    let mut script = "#!ipxe\nset peer none\n:again\n".to_owned();
    for peer in peers {
        // Writing to a string cannot fail.
        let _ = writeln!(script, "iseq ${{peer}} none || goto tell");
        let _ = writeln!(script, "imgfetch --name p --timeout 3000 http://{peer}/ && set peer {peer} ||");
        script += "imgfree p ||\n";
    }
    script += ":tell\n";
    let _ = writeln!(
        script,
        "imgfetch --name b --timeout 3000 http://{METADATA_V4}{SCRIPT}/${{unixtime}}/${{peer}} ||"
    );
    script + "imgfree b ||\nsleep 1\ngoto again\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_canary_is_heard() {
        let guests = Guests::new(Path::new("/nowhere"), Box::new(|_, _| unreachable!()));
        guests.set_peers(vec![Ipv4Addr::new(100, 64, 0, 4)]);
        let script = answer(&guests, SCRIPT);
        insta::assert_snapshot!(String::from_utf8(script.body).unwrap());
        assert_eq!(*guests.beats().borrow(), None);
        assert_eq!(answer(&guests, &format!("{SCRIPT}/0x6b0dd9be/none")).status, 200);
        let beat = guests.beats().borrow().unwrap();
        assert_eq!((beat.clock_s, beat.reached, beat.starts), (0x6b0d_d9be, None, 1));
        answer(&guests, &format!("{SCRIPT}/0x6b0dd9bf/100.64.0.4"));
        assert_eq!(guests.beats().borrow().unwrap().reached, Some(Ipv4Addr::new(100, 64, 0, 4)));
        for path in ["/x/none", "/0xzz/none", "/0x1/none/more", "/"] {
            assert!(answer(&guests, &format!("{SCRIPT}{path}")).status >= 400, "{path}");
        }
    }
}
