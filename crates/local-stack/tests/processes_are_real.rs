//! A database and a broker as real processes: started, killed, brought back, and ended with their owner.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use local_stack::{DataDirectory, Part, Progress, Signal, Stack, StackEvent};

fn builder(directory: &Path) -> local_stack::StackBuilder {
    Stack::builder(directory).not_durable().only_database_and_broker()
}

/// `postgres://lap:…@127.0.0.1:1234/platform` → whether anybody listens there.
fn answers(url: &str) -> bool {
    let address = url.split(['@', '/']).nth(3);
    address.is_some_and(|address| TcpStream::connect(address).is_ok())
}

#[tokio::test]
async fn a_killed_process_is_noticed_and_comes_back_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut stack = builder(directory.path()).start().await.unwrap();
    let (database, first) = (stack.database_url().to_owned(), stack.pid(Part::Postgres).unwrap());
    assert!(answers(&database) && answers(stack.amqp_url()));

    stack.kill(Part::Postgres, Signal::SIGKILL).unwrap();
    let event = stack.next_event().await.unwrap();
    assert!(
        matches!(&event, StackEvent::Ended { process, .. } if *process == Part::Postgres.into()),
        "{event:?}"
    );
    assert_eq!(stack.pid(Part::Postgres), None);

    // Somebody else starts what is missing; the first owner sees the new process.
    builder(directory.path()).start().await.unwrap().leave_running();
    let second = stack.pid(Part::Postgres).unwrap();
    assert_ne!(first, second);
    assert!(answers(&database));

    let amqp = stack.amqp_url().to_owned();
    stack.stop().await.unwrap();
    assert!(!answers(&database) && !answers(&amqp));
    assert!(!Stack::down(directory.path(), Progress::quiet()).await.unwrap());
}

#[tokio::test]
async fn a_dropped_stack_leaves_no_process_but_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let stack = builder(directory.path()).start().await.unwrap();
    let pids: Vec<i32> = stack.processes().into_iter().filter_map(|(_, _, pid)| pid).collect();
    assert_eq!(pids.len(), 3);
    let secrets = fs::read_to_string(stack.data_directory().environment_file()).unwrap();
    drop(stack);

    let cluster = directory.path().join("postgres/data");
    assert!(cluster.exists());
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{pid} is alive: {stat}");
    }

    let again = builder(directory.path()).start().await.unwrap();
    let password = |text: &str| {
        text.lines().find(|line| line.starts_with("LAP_POSTGRES_PASSWORD")).map(str::to_owned)
    };
    let kept = fs::read_to_string(again.data_directory().environment_file()).unwrap();
    assert_eq!(password(&kept), password(&secrets));
    again.stop().await.unwrap();
    DataDirectory::open(directory.path()).unwrap().purge().unwrap();
}
