//! What is planted, and is found in files that are read for a snapshot.

use platform_messaging::proto::egress::{EgressBound, PlantedFile};

use super::*;
use crate::planted::Planted;

const VALUE: &str = "bkp_N0b0dyMayUseThis123";
const PLACE: &str = "/home/agent/.config/backup/token";

fn lookout() -> Lookout {
    let files = vec![PlantedFile { path: PLACE.to_owned(), content: VALUE.to_owned() }];
    let honey_values = vec![VALUE.to_owned()];
    let bound = EgressBound { honey_values, files, ..EgressBound::default() };
    Lookout::new(Arc::new(Planted::new(&bound)))
}

impl Machine {
    /// Where a planted value was seen in a snapshot, in whatever the snapshot ended.
    fn seen(&self, turn: u128) -> Vec<PathBuf> {
        let lookout = lookout();
        let _kept_or_not = take_now(&self.source(), turn_id(turn), self.limits, &lookout);
        lookout.seen()
    }

    fn plant(&self) {
        let place = self.source().home.join(".config/backup");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("token"), VALUE).unwrap();
    }
}

#[test]
fn a_planted_value_is_seen_in_every_file_but_its_own() {
    let machine = Machine::new();
    machine.plant();
    assert_eq!(machine.seen(1), Vec::<PathBuf>::new());

    fs::create_dir(machine.at("deep")).unwrap();
    machine.write("deep/small", format!("token={VALUE}").as_bytes());
    let mut large = vec![b'x'; 17 << 20];
    // Across the border of two pieces.
    let at = (1 << 20) - 5;
    large[at..at + VALUE.len()].copy_from_slice(VALUE.as_bytes());
    machine.write("large", &large);
    machine.write("other", b"bkp_N0b0dyMayUseThis");
    fs::write(machine.source().home.join("token"), VALUE).unwrap();
    let seen = ["/home/agent/token", "/workspace/deep/small", "/workspace/large"];
    assert_eq!(machine.seen(2), seen.map(PathBuf::from));
}

#[test]
fn a_snapshot_that_fails_hides_no_planted_value() {
    let mut machine = Machine::new();
    machine.write("a", VALUE.as_bytes());
    machine.limits.most_bytes = 100;
    machine.write("b", &[0; 200]);
    machine.take(1).unwrap_err();
    assert_eq!(machine.seen(1), [PathBuf::from("/workspace/a")]);
}
