//! Attacks on the disk: by bytes, by names, by what unpacks to more than it seems, and by files that nobody sees.

use std::time::{Duration, Instant};

use platform_core::environment::Resources;
use sandbox_service::backend::{DiskSpace, SandboxBackend};
use sandbox_service::disk_limit::{DiskWatch, allowed};

use crate::attack::{Machine, Missing, Outcome};

const LITTLE: Resources =
    Resources { disk_mib: 64, memory_mib: 2048, processes: 512, cpu_millis: 2000 };

/// Runs a filler as the service does: looks at the disk, measures when that is due, and ends what has too much. Answers what the
/// sandbox had at its end. `is_watched`: `false` leaves that out.
async fn fill(script: &str, resources: Resources, is_watched: bool) -> (Outcome, DiskSpace) {
    // One after the other, so that each has the disk's whole speed, which is what is dangerous about it.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ONE_AT_A_TIME.lock().await;
    let machine =
        Machine::without(&[Missing::in_plan("plan['limits']['largest_file_bytes'] = 2**40")]);
    let order = machine.prepare(script, resources);
    let backend = &machine.backend;
    let mut watch = DiskWatch::new(backend.free_disk(), Instant::now());
    backend.start(&order).await.unwrap();
    let ended = backend.ended(order.sandbox);
    tokio::pin!(ended);
    let mut look = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            _ = &mut ended => break,
            _ = look.tick() => {}
        }
        let (left, now) = (backend.free_disk(), Instant::now());
        if is_watched && watch.is_due(left, now) {
            let used = backend.used_disk(order.sandbox, order.session, allowed(&resources));
            watch.note_measured(left, now, Instant::now());
            if used.exceeds(allowed(&resources)) {
                backend.kill(order.sandbox);
            }
        }
    }
    let plenty = DiskSpace { bytes: u64::MAX, files: u64::MAX };
    let used = backend.used_disk(order.sandbox, order.session, plenty);
    (machine.finish(&order).await, used)
}

/// What a filler may have before it is ended, and what it takes when nobody watches.
const OVERSHOOT_BYTES: u64 = 3 << 29;
const BOUND_BYTES: u64 = 2 << 30;

#[tokio::test]
async fn a_filler_of_the_disk_is_ended_before_it_has_filled_much() {
    let filler = "piece = b'x' * (1 << 20)\nfor number in range(64):\n    with open(f'/workspace/{number}', 'wb', 0) as file:\n        \
        for _ in range(32): file.write(piece)\nsay('filled')";
    let (taken, used) = fill(filler, LITTLE, false).await;
    assert!(
        taken.has("filled") && used.bytes >= BOUND_BYTES,
        "this attack fails anyway: {taken:?}"
    );
    let (held, used) = fill(filler, LITTLE, true).await;
    assert!(!held.has("filled") && used.bytes < OVERSHOOT_BYTES, "{used:?} {held:?}");
}

#[tokio::test]
async fn a_filler_whose_files_have_no_names_is_ended_too() {
    // Kept by an open descriptor, and by a mapping alone.
    let filler = "import mmap\npiece = b'x' * (1 << 20)\nkept = []\nfor number in range(128):\n    \
        file = open(f'/workspace/file', 'w+b', 0)\n    os.remove('/workspace/file')\n    \
        for _ in range(16): file.write(piece)\n    if number % 2: kept.append(mmap.mmap(file.fileno(), 16 << 20)); file.close()\n    else: kept.append(file)\nsay('filled')";
    let (taken, _) = fill(filler, LITTLE, false).await;
    assert!(taken.has("filled"), "this attack fails anyway: {taken:?}");
    let (held, _) = fill(filler, LITTLE, true).await;
    assert!(!held.has("filled"), "{held:?}");
}

#[tokio::test]
async fn a_filler_of_names_is_ended_too() {
    let filler = "for number in range(60_000):\n    if number % 1000 == 0: os.mkdir(f'/workspace/{number}'); os.chdir(f'/workspace/{number}')\n    \
        os.close(os.open(str(number), os.O_CREAT))\nsay('filled')";
    let (taken, used) = fill(filler, LITTLE, false).await;
    assert!(taken.has("filled") && used.files > 60_000, "this attack fails anyway: {taken:?}");
    let (held, used) = fill(filler, LITTLE, true).await;
    assert!(!held.has("filled") && used.files < 50_000, "{used:?} {held:?}");
}

#[tokio::test]
async fn a_file_that_unpacks_to_more_than_is_allowed_stops_at_what_is() {
    let bomb = "import zlib\npacker = zlib.compressobj(9)\npacked = b''.join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()\n\
        say('packed', len(packed) < 1 << 20)\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nunpacker = zlib.decompressobj()\nwritten = 0\n\
        def unpack():\n    with open('/workspace/unpacked', 'wb', 0) as file:\n        data = packed\n        while data:\n            \
        piece = unpacker.decompress(data, 1 << 20); data = unpacker.unconsumed_tail\n            \
        while piece: piece = piece[file.write(piece):]\n\
        attempt('unpack', unpack)\nattempt('hole', lambda: os.truncate('/workspace/unpacked', 1 << 38))";
    let limit = Missing::in_plan("plan['limits']['largest_file_bytes'] = 2**40");
    let taken = Machine::without(&[limit]).run_with(bomb, LITTLE).await;
    assert!(taken.has("unpack succeeded") && taken.has("hole succeeded"), "{taken:?}");
    let held = Machine::without(&[]).run_with(bomb, LITTLE).await;
    assert!(
        held.has("packed True") && held.has("unpack EFBIG") && held.has("hole EFBIG"),
        "{held:?}"
    );
}
