use std::fmt::Write;

use test_support::TestDatabase;

const PAGE: &str = include_str!("../schema.rs");

#[tokio::test]
async fn the_page_says_what_the_migrated_database_has() {
    let database = TestDatabase::create().await.unwrap();
    let client = database.connect().await.unwrap();
    let columns = client
        .query(
            "select c.table_name::text, c.column_name::text, c.udt_name::text, c.is_nullable = 'YES'
             from information_schema.columns c
             where c.table_schema = 'public' and c.table_name not like '\\_\\_diesel%'
             order by c.table_name, c.ordinal_position",
            &[],
        )
        .await
        .unwrap();
    let mut tables: Vec<(String, String)> = Vec::new();
    for column in columns {
        let table: String = column.get(0);
        if tables.last().is_none_or(|(name, _)| *name != table) {
            tables.push((table, String::new()));
        }
        let lines = &mut tables.last_mut().unwrap().1;
        let name: String = column.get(1);
        let kind = diesel_type(column.get(2));
        let kind = if column.get(3) { format!("Nullable<{kind}>") } else { kind.to_owned() };
        if name == "type" {
            lines.push_str("        #[sql_name = \"type\"]\n");
            writeln!(lines, "        type_ -> {kind},").unwrap();
        } else {
            writeln!(lines, "        {name} -> {kind},").unwrap();
        }
    }
    for (table, lines) in &tables {
        let key: String = client
            .query_one(
                "select string_agg(a.attname, ', ' order by array_position(i.indkey::int2[], a.attnum))
                 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                 where i.indisprimary and i.indrelid = to_regclass($1)",
                &[table],
            )
            .await
            .unwrap()
            .get(0);
        let expected = format!("    {table} ({key}) {{\n{lines}    }}\n");
        assert!(PAGE.contains(&expected), "schema.rs should say:\n{expected}");
    }
    assert_eq!(PAGE.matches("table! {").count(), tables.len(), "tables that no longer exist");
}

fn diesel_type(postgres: &str) -> &'static str {
    match postgres {
        "uuid" => "Uuid",
        "text" => "Text",
        "timestamptz" => "Timestamptz",
        "jsonb" => "Jsonb",
        "json" => "Json",
        "int4" => "Integer",
        "int8" => "BigInt",
        "bool" => "Bool",
        "bytea" => "Binary",
        other => panic!("no mapping for {other} yet"),
    }
}
