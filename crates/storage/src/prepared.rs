//! Changes that PostgreSQL keeps parsed from one time to the next.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};

/// So many rows at a time are kept parsed. What is absent in a row makes a text of its own, so there are many texts for many rows.
pub(crate) const FEW_ROWS: usize = 2;

/// A statement of one of few texts. diesel has every `UPDATE` and every `INSERT` of a list of rows parsed anew each time, which costs a way
/// to the server and back, because it cannot know how many texts there are.
pub(crate) struct Prepared<Statement>(pub(crate) Statement);

impl<Statement: QueryFragment<Pg>> QueryFragment<Pg> for Prepared<Statement> {
    fn walk_ast<'binds>(&'binds self, pass: AstPass<'_, 'binds, Pg>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

/// The text is looked for, not the type.
impl<Statement> QueryId for Prepared<Statement> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
