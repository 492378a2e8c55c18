//! Query strings of lists and the cursors in them.

use api_gateway::cursor::Cursors;
use api_gateway::query::Query;
use platform_core::id::TeamId;
use platform_storage::Order;
use serde_json::Value;
use uuid::Uuid;

use crate::Target;

pub const TARGET: Target = Target {
    name: "cursors",
    check,
    words: &[
        "page=page_",
        "cursor=",
        "&",
        "limit=",
        "order=asc",
        "order=desc",
        "statuses[]=idle",
        "created_at[gte]=",
        "2026-01-02T03:04:05Z",
        "%5B",
        "eyJiIjoi",
        "-1",
        "9223372036854775807",
    ],
};

/// A query that is read answers with pages that fit it and no other.
fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(mut query) = Query::parse("/v1/sessions", text) else { return };
    let team = TeamId::from_uuid(Uuid::from_u64_pair(1, 1));
    let Ok(cursors) = Cursors::of(team, &mut query) else { return };
    let _any = cursors.place::<Value>();
    let _any = cursors.page_request(Order::NewestFirst, 1);
    let filters = query.filters();
    let limit = query.limit(20, 1000);
    assert!(limit.is_err() || limit.is_ok_and(|limit| (1..=1000).contains(&limit)));
    let _any = (query.order(Order::NewestFirst), query.range("created_at"));

    let page = cursors.seal(7);
    let same =
        format!("{}&page={page}", filters.split_once('?').map_or("", |(_, filters)| filters));
    let place = |team: TeamId, text: &str| {
        let mut query = Query::parse("/v1/sessions", text).ok()?;
        Cursors::of(team, &mut query).ok()?.place::<i64>().ok().flatten()
    };
    assert_eq!(place(team, &same), Some(7), "{same}");
    assert_eq!(place(team, &format!("{same}&agent_id=other")), None, "a cursor of other filters");
    let other = TeamId::from_uuid(Uuid::from_u64_pair(2, 2));
    assert_eq!(place(other, &same), None, "a cursor of another team");
}
