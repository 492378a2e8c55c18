//! Places in lists as clients hold them: opaque, and good only for the team and the filters they were made for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use platform_core::id::TeamId;
use platform_storage::{Cursor, Page, PageRequest, Position};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::problem::Problem;
use crate::query::Query;

const PREFIX: &str = "page_";

/// The body of a list's answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct List<T> {
    pub data: Vec<T>,
    pub next_page: Option<String>,
}

/// Makes and reads the cursors of one list of one team under one set of filters.
#[derive(Debug, Clone)]
pub struct Cursors {
    binding: String,
    page: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Sealed<P> {
    /// A fingerprint of team, list and filters.
    b: String,
    p: P,
}

#[derive(Serialize, Deserialize)]
struct RowPlace {
    /// Microseconds since 1970.
    t: i64,
    i: Uuid,
    /// Whether the page lies before the row instead of after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    r: bool,
}

impl Cursors {
    /// Takes the query's page, whichever of `page` and `cursor` names it.
    pub fn of(team: TeamId, query: &mut Query) -> Result<Self, Problem> {
        let filters = query.filters();
        let page = query.text("page")?.or(query.text("cursor")?).filter(|page| !page.is_empty());
        let digest = Sha256::new()
            .chain_update(team.uuid().as_bytes())
            .chain_update(filters.as_bytes())
            .finalize();
        let binding = URL_SAFE_NO_PAD.encode(digest.get(..9).unwrap_or_default());
        Ok(Self { binding, page })
    }

    /// The place that the request names, in whatever the list counts by.
    pub fn place<P: DeserializeOwned>(&self) -> Result<Option<P>, Problem> {
        let Some(page) = &self.page else { return Ok(None) };
        let unreadable =
            || Problem::invalid("page: this cursor cannot be read").with_code("invalid_cursor");
        let text = page.strip_prefix(PREFIX).ok_or_else(unreadable)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| unreadable())?;
        let sealed: Sealed<P> = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        if sealed.b != self.binding {
            let message = "page: this cursor belongs to a list with other filters; send the same query with it";
            return Err(Problem::invalid(message).with_code("invalid_cursor"));
        }
        Ok(Some(sealed.p))
    }

    pub fn seal<P: Serialize>(&self, place: P) -> String {
        let sealed = Sealed { b: self.binding.clone(), p: place };
        // Numbers, texts and booleans always serialize.
        let json = serde_json::to_vec(&sealed).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// The page that a list ordered by creation is asked for.
    pub fn page_request(
        &self,
        order: platform_storage::Order,
        limit: u32,
    ) -> Result<PageRequest, Problem> {
        let position = match self.place::<RowPlace>()? {
            None => Position::Start,
            Some(RowPlace { t, i, r }) => {
                let created_at = DateTime::from_timestamp_micros(t)
                    .ok_or_else(|| Problem::invalid("page: this cursor cannot be read"))?;
                let cursor = Cursor { created_at, id: i };
                if r { Position::Before(cursor) } else { Position::After(cursor) }
            }
        };
        Ok(PageRequest { position, order, limit })
    }

    /// The answer for a page of rows.
    pub fn list<T, V>(&self, page: Page<T>, view: impl FnMut(T) -> V) -> List<V> {
        let next_page = page.next.map(|cursor| self.seal_row(cursor, false));
        List { data: page.items.into_iter().map(view).collect(), next_page }
    }

    /// Where the page before begins.
    pub fn previous<T>(&self, page: &Page<T>) -> Option<String> {
        page.previous.map(|cursor| self.seal_row(cursor, true))
    }

    fn seal_row(&self, cursor: Cursor, is_before: bool) -> String {
        self.seal(RowPlace { t: cursor.created_at.timestamp_micros(), i: cursor.id, r: is_before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(team: u128, text: &str) -> Cursors {
        let request = actix_web::test::TestRequest::with_uri(&format!("/v1/agents?{text}"));
        let mut query = futures::executor::block_on(async {
            use actix_web::FromRequest;
            Query::extract(&request.to_http_request()).await.unwrap()
        });
        Cursors::of(TeamId::from_uuid(Uuid::from_u128(team)), &mut query).unwrap()
    }

    #[test]
    fn a_cursor_leads_back_to_its_place_under_the_same_filters_only() {
        let page = cursors(1, "order=asc&limit=2").seal(7_i64);
        assert_eq!(
            cursors(1, &format!("limit=5&order=asc&page={page}")).place().unwrap(),
            Some(7_i64)
        );
        assert!(cursors(1, &format!("order=desc&page={page}")).place::<i64>().is_err());
        assert!(cursors(2, &format!("order=asc&page={page}")).place::<i64>().is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for page in ["nonsense", "page_", "page_%21", "page_e30"] {
            assert!(cursors(1, &format!("page={page}")).place::<i64>().is_err(), "{page}");
        }
    }
}
