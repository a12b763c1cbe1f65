//! Every file under `scenarios/` runs and ends as it says.

use lenticular_sim::scenario::Scenario;
use std::path::Path;

#[test]
fn every_scenario_ends_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("the folder is there").map(|f| f.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 2, "there are scenarios in {}", folder.display());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        if let Err(why) = Scenario::parse(&text).and_then(|scenario| scenario.run()) {
            panic!("{}: {why}", file.display());
        }
    }
}
