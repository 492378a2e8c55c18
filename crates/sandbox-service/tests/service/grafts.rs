//! Sessions that have files claim warm sandboxes too: the files take the place of the sandbox's own in its rooms, which run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use platform_core::id::SessionId;
use platform_messaging::proto::session::session_command::Action;
use sandbox_service::backend::local::layout::Room;

use crate::agent::Agent;
use crate::house::{House, Limits};
use crate::{ready, session, stop};

/// A session whose sandbox was given back, and a warm sandbox.
struct Rested {
    house: House,
    session: SessionId,
    warm: Agent,
    /// How the session's folders were mounted in its first sandbox.
    first_mounts: BTreeMap<String, String>,
}

impl Rested {
    async fn build() -> Self {
        let mut house = House::build(Limits { warm_pool_size: 1, ..Limits::default() }).await;
        let session = session();
        let first = ready(&mut house, session, 1).await;
        let first_mounts = built(&first, &house).await;
        house.execute("create table first_sandbox as select * from sandboxes").await;
        let mut warm = Agent::dial_warm(&house).await;
        warm.say_hello().await;
        warm.next().await;
        warm.startup("ready").await;
        house.warm(warm.sandbox).await;
        built(&warm, &house).await;
        house.send(session, 1, stop("released")).await;
        house.gone(first.sandbox, "released").await;
        let files = house.layout().workspace(session);
        for folder in [&files.workspace, &files.home, &files.journal] {
            fs::write(folder.join("kept"), "from before").unwrap();
        }
        Self { house, session, warm, first_mounts }
    }

    /// What the claimed sandbox's rooms see is the session's, and nothing else of it is left.
    fn assert_grafted(&self) {
        let (house, layout) = (&self.house, self.house.layout());
        for (room, target) in FOLDERS {
            let seen = seen(&self.warm, house, room, target);
            assert_eq!(fs::read_to_string(seen.join("kept")).unwrap(), "from before");
        }
        assert_eq!(mounts(&self.warm, house), self.first_mounts);
        assert!(!layout.workspace(self.warm.sandbox).root.exists());
    }
}

const FOLDERS: [(Room, &str); 3] =
    [(Room::Harness, "workspace"), (Room::Harness, "home/agent"), (Room::Supervise, "journal")];

fn process(agent: &Agent, house: &House, room: Room) -> PathBuf {
    let [supervise, harness] = agent.pids(house);
    let pid = match room {
        Room::Supervise => supervise,
        Room::Harness => harness,
    };
    Path::new("/proc").join(pid.to_string())
}

/// Where a folder of the room can be seen from outside.
fn seen(agent: &Agent, house: &House, room: Room, target: &str) -> PathBuf {
    process(agent, house, room).join("root").join(target)
}

/// What is mounted in both rooms where sessions have files, by target, and with which options.
fn mounts(agent: &Agent, house: &House) -> BTreeMap<String, String> {
    let mut mounts = BTreeMap::new();
    for room in Room::BOTH {
        let list = fs::read_to_string(process(agent, house, room).join("mountinfo")).unwrap();
        for line in list.lines() {
            let mut fields = line.split(' ').skip(4);
            let target = fields.next().unwrap().trim_start_matches('/');
            if FOLDERS.contains(&(room, target)) {
                let twice = mounts.insert(target.to_owned(), fields.next().unwrap().to_owned());
                assert_eq!(twice, None, "two mounts on {target}");
            }
        }
    }
    mounts
}

/// Waits until bubblewrap has built both rooms, which without a sandbox-agent nobody tells.
async fn built(agent: &Agent, house: &House) -> BTreeMap<String, String> {
    loop {
        let mounts = mounts(agent, house);
        if mounts.len() == FOLDERS.len() {
            return mounts;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_files_claims_a_warm_sandbox_that_is_then_like_any_other() {
    let mut rested = Rested::build().await;
    let session = rested.session;
    rested.house.provision(session, 2).await;
    let hydrate = rested.warm.hydrated().await;
    assert_eq!((hydrate.epoch, hydrate.session_id), (2, session.uuid().to_string()));
    rested.assert_grafted();
    rested.warm.startup("preparing_workspace").await;
    rested.warm.startup("ready").await;
    rested.house.startup(session, "ready").await;
    assert_eq!(rested.house.sandbox_of(session, 2).await, rested.warm.sandbox);

    // What still works where the sandbox was started can leave nothing there.
    let cwd = process(&rested.warm, &rested.house, Room::Harness).join("cwd");
    assert!(fs::write(cwd.join("astray"), "").is_err());

    let files = rested.house.layout().workspace(session);
    let seen = seen(&rested.warm, &rested.house, Room::Harness, "workspace");
    fs::write(seen.join("new"), "from now").unwrap();
    rested.house.send(session, 2, stop("released")).await;
    rested.house.gone(rested.warm.sandbox, "released").await;
    assert_eq!(fs::read_to_string(files.workspace.join("new")).unwrap(), "from now");
    assert_eq!(fs::read_to_string(files.journal.join("kept")).unwrap(), "from before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_sandbox_whose_link_was_away_gets_the_files_once() {
    let rested = Rested::build().await;
    let Rested { house, session, warm, first_mounts } = rested;
    let again = Agent::again(&house, &warm).await;
    drop(warm);
    house.provision(session, 2).await;
    while house.layout().workspace(again.sandbox).root.exists() {
        tokio::task::yield_now().await;
    }
    let mut rested = Rested { house, session, warm: again, first_mounts };
    rested.warm.say_hello().await;
    rested.warm.hydrated().await;
    rested.assert_grafted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_replica_ended_after_the_claim_gets_the_files_when_it_links() {
    let Rested { house, session, warm, first_mounts } = Rested::build().await;
    let claim = "update sandboxes set state = 'claimed', team_id = first.team_id, epoch = 2, agent_id = first.agent_id,
            session_id = first.session_id, detail = first.detail
        from first_sandbox first";
    let (warm_id, session_id) = (warm.sandbox.uuid(), session.uuid());
    house
        .execute(&format!(
            "{claim} where sandboxes.id = '{warm_id}' and first.session_id = '{session_id}'"
        ))
        .await;
    let again = Agent::again(&house, &warm).await;
    drop(warm);
    let mut rested = Rested { house, session, warm: again, first_mounts };
    rested.warm.say_hello().await;
    assert_eq!(rested.warm.hydrated().await.epoch, 2);
    rested.assert_grafted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_sandbox_that_cannot_get_the_files_is_given_up_and_the_next_one_is_started_on_them()
{
    let Rested { mut house, session, warm, .. } = Rested::build().await;
    fs::remove_file(house.layout().sandbox(warm.sandbox).plan(Room::Harness)).unwrap();
    house.provision(session, 2).await;
    let Action::ReportLoss(loss) = house.next_but_startup(session).await else { panic!("no loss") };
    assert_eq!((loss.reason.as_str(), loss.may_retry), ("start_failed", true));
    assert!(loss.message.contains("reading a plan"), "{}", loss.message);
    house.gone(warm.sandbox, "start_failed").await;

    // Another warm one is there by now, but would meet the same.
    let mut other = Agent::dial_warm(&house).await;
    other.say_hello().await;
    other.next().await;
    other.startup("ready").await;
    house.warm(other.sandbox).await;
    house.provision(session, 3).await;
    let third = Agent::dial(&mut house, session, 3).await;
    assert_ne!(third.sandbox, other.sandbox);
    built(&third, &house).await;
    let kept = seen(&third, &house, Room::Harness, "workspace").join("kept");
    assert_eq!(fs::read_to_string(kept).unwrap(), "from before");
}
