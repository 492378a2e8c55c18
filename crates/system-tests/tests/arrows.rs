//! The arrows between the crates point down, and each library is known to one crate alone.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Libraries that may be named in one place only.
const OWNERS: [(&str, &[&str]); 6] = [
    ("diesel", &["platform-storage"]),
    ("diesel-async", &["platform-storage"]),
    ("lapin", &["platform-messaging"]),
    ("prost", &["platform-messaging"]),
    ("kube", &["sandbox-service"]),
    ("actix-web", &["api-gateway", "platform-runtime", "scripted-model"]),
];

/// What each layer of our own may stand on. Everything else of ours is a binary, on which nothing may stand.
const LAYERS: [(&str, &[&str]); 7] = [
    ("platform-core", &[]),
    ("platform-storage", &["platform-core"]),
    ("platform-messaging", &["platform-core"]),
    ("platform-runtime", &["platform-core"]),
    ("platform-sealing", &["platform-core"]),
    ("local-stack", &[]),
    ("test-support", &[]),
];

/// What tries the readers of the binaries, and so stands on them.
const TRIERS: [&str; 1] = ["fuzz"];

/// Each package of the workspace with what it depends on, tests aside.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let named = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let of_code = all.filter(|dependency| dependency["kind"] != "dev");
            (named(package), of_code.map(named).collect())
        })
        .collect()
}

#[test]
fn each_library_is_known_to_its_owners_alone() {
    for (package, dependencies) in packages() {
        for (library, owners) in OWNERS {
            let is_known = dependencies.contains(library);
            assert!(!is_known || owners.contains(&package.as_str()), "{package} knows {library}");
        }
    }
}

#[test]
fn nothing_points_sideways_or_up() {
    let packages = packages();
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into();
    for (package, dependencies) in &packages {
        if TRIERS.contains(&package.as_str()) {
            continue;
        }
        let ours = dependencies.iter().filter(|name| packages.contains_key(*name));
        for dependency in ours {
            let allowed = match layers.get(package.as_str()) {
                Some(below) => below.contains(&dependency.as_str()),
                None => layers.contains_key(dependency.as_str()),
            };
            assert!(allowed, "{package} stands on {dependency}");
        }
    }
}
