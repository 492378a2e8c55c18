//! Sandboxes whose files are too many or too large.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use platform_messaging::proto::session::session_command::Action;
use rustix::fs::{FallocateFlags, fallocate};

use crate::house::{House, Limits};
use crate::{ready, session};

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_fills_the_disk_is_ended_before_anybody_would_measure_it() {
    let limits = Limits { disk_mib: Some(64), ..Limits::default() };
    let mut house = House::build(limits).await;
    let session = session();
    let agent = ready(&mut house, session, 1).await;
    let began = Instant::now();
    let folder = house.layout().workspace(session).workspace;
    fs::create_dir_all(&folder).unwrap();
    let file = File::create(folder.join("large")).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 512 << 20).unwrap();

    let Action::ReportLoss(loss) = house.next_but_startup(session).await else { panic!("no loss") };
    assert_eq!((loss.reason.as_str(), loss.may_retry), ("disk_full", false));
    assert!(
        loss.message.contains("64 MiB") && loss.message.contains("disk_mib"),
        "{}",
        loss.message
    );
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(agent);
}
