//! Query strings as the official clients write them: lists as `name[]=`, ranges as `name[gte]=`.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use chrono::{DateTime, NaiveDateTime, Utc};
use platform_storage::{Order, TimeRange};

use crate::problem::Problem;

/// A query string whose keys are taken one by one; what nobody took is refused at the end.
#[derive(Debug, Clone)]
pub struct Query {
    path: String,
    pairs: Vec<(String, String)>,
    /// What the list is filtered and ordered by: every pair but the page and its size.
    filters: Vec<(String, String)>,
}

impl FromRequest for Query {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.path(), request.query_string()))
    }
}

impl Query {
    /// Reads the text behind the `?` of a request for this path.
    pub fn parse(path: &str, text: &str) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text)
            .map_err(|fault| Problem::invalid(format!("the query cannot be read: {fault}")))?;
        // Clients before 2.5 add `beta=true` to everything.
        let pairs: Vec<_> = pairs.into_iter().filter(|(key, _)| key != "beta").collect();
        let is_filter = |key: &str| !matches!(key, "page" | "cursor" | "limit");
        let mut filters: Vec<_> = pairs.iter().filter(|(key, _)| is_filter(key)).cloned().collect();
        filters.sort();
        Ok(Self { path: path.to_owned(), pairs, filters })
    }

    /// What a page of this list is bound to: the list itself, and its filters in any order.
    pub fn filters(&self) -> String {
        serde_urlencoded::to_string(&self.filters)
            .map_or_else(|_| self.path.clone(), |filters| format!("{}?{filters}", self.path))
    }

    /// The value of a key that may be there once.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, Problem> {
        let mut values = self.take(|name| name == key).into_iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Problem::invalid(format!("{key} may be given only once"))),
        }
    }

    pub fn parsed<T: FromStr>(&mut self, key: &str) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        let Some(text) = self.text(key)? else { return Ok(None) };
        text.parse().map(Some).map_err(|fault| Problem::invalid(format!("{key}: {fault}")))
    }

    pub fn flag(&mut self, key: &str) -> Result<bool, Problem> {
        match self.text(key)?.as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(Problem::invalid(format!("{key} is true or false, not {other:?}"))),
        }
    }

    /// How many rows a page has.
    pub fn limit(&mut self, default: u32, most: u32) -> Result<u32, Problem> {
        match self.parsed::<i64>("limit")? {
            None => Ok(default),
            Some(limit) => match u32::try_from(limit) {
                Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
                _ => Err(Problem::invalid(format!("limit is a number from 1 to {most}"))),
            },
        }
    }

    pub fn order(&mut self, default: Order) -> Result<Order, Problem> {
        match self.text("order")?.as_deref() {
            None => Ok(default),
            Some("asc") => Ok(Order::OldestFirst),
            Some("desc") => Ok(Order::NewestFirst),
            Some(other) => Err(Problem::invalid(format!("order is asc or desc, not {other:?}"))),
        }
    }

    /// Every value of `key`, `key[]` and `key[0]`, `key[1]` ….
    pub fn list(&mut self, key: &str) -> Vec<String> {
        self.take(|name| {
            name == key
                || name
                    .strip_prefix(key)
                    .and_then(|rest| rest.strip_prefix('['))
                    .and_then(|rest| rest.strip_suffix(']'))
                    .is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
        })
    }

    /// The bounds `key[gt]`, `key[gte]`, `key[lt]` and `key[lte]`.
    pub fn range(&mut self, key: &str) -> Result<TimeRange, Problem> {
        Ok(TimeRange {
            after: self.time(&format!("{key}[gt]"))?,
            from: self.time(&format!("{key}[gte]"))?,
            before: self.time(&format!("{key}[lt]"))?,
            until: self.time(&format!("{key}[lte]"))?,
        })
    }

    fn time(&mut self, key: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match parse_time(&text) {
            Some(time) => Ok(Some(time)),
            None => Err(Problem::invalid(format!("{key}: {text:?} is not an RFC 3339 time"))),
        }
    }

    /// Refuses what nobody asked for: a misspelt filter must not silently show everything.
    pub fn finish(self) -> Result<(), Problem> {
        let mut unknown: Vec<&str> = self.pairs.iter().map(|(key, _)| key.as_str()).collect();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Problem::invalid(format!("unknown query parameters: {}", unknown.join(", "))))
    }

    fn take(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let pairs = std::mem::take(&mut self.pairs);
        let (taken, rest) = pairs.into_iter().partition(|(name, _)| wanted(name));
        self.pairs = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }
}

/// Reads a time; one without an offset is UTC. A `+` that arrived as a space is understood.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let with_offset =
        |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    with_offset(text)
        .or_else(|| with_offset(&text.replace(' ', "+")))
        .or_else(|| text.parse::<NaiveDateTime>().ok().map(|time| time.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse("/v1/sessions", text).unwrap()
    }

    #[test]
    fn bracketed_lists_are_read_with_one_value_and_with_many() {
        let mut many = query("statuses%5B%5D=idle&statuses%5B%5D=running&beta=true");
        assert_eq!(many.list("statuses"), ["idle", "running"]);
        many.finish().unwrap();
        assert_eq!(query("statuses[]=idle").list("statuses"), ["idle"]);
    }

    #[test]
    fn ranges_are_read_with_and_without_an_offset() {
        let mut both = query(
            "created_at%5Bgte%5D=2026-01-02T03%3A04%3A05.678000%2B00%3A00&created_at[lt]=2026-01-02T00:00:00",
        );
        let range = both.range("created_at").unwrap();
        assert_eq!(range.from.unwrap().to_rfc3339(), "2026-01-02T03:04:05.678+00:00");
        assert_eq!(range.before.unwrap().to_rfc3339(), "2026-01-02T00:00:00+00:00");
        assert!(query("created_at[gte]=yesterday").range("created_at").is_err());
    }

    #[test]
    fn unknown_parameters_are_refused_by_name() {
        let fault = query("colour=red").finish().unwrap_err();
        assert_eq!(fault.message(), "unknown query parameters: colour");
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        for text in ["limit=0", "limit=-1", "limit=1001", "limit=99999999999999999999", "limit=x"] {
            assert!(query(text).limit(20, 1000).is_err(), "{text}");
        }
        assert_eq!(query("").limit(20, 1000).unwrap(), 20);
    }

    #[test]
    fn the_filters_do_not_depend_on_order_page_or_limit() {
        let one = query("statuses[]=idle&agent_id=a&page=x&limit=1").filters();
        assert_eq!(one, query("agent_id=a&statuses%5B%5D=idle").filters());
        assert_ne!(one, query("agent_id=b&statuses[]=idle").filters());
    }
}
