//! A stand-in for TDengine's server, which no registry of this project's has: it splits statements by TDengine's lexical rules, keeps
//! tables as TDengine does (one row for each time), and answers as taosAdapter.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use proptest::prelude::*;

use super::*;
use crate::push::{Push, Target};

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Name(String),
    Text(String),
    Sign(char),
}

/// By TDengine's rules: in texts a backslash takes the next letter as it is and a doubled quote is one; in names nothing is special;
/// the statement ends at a zero byte.
fn tokens(sql: &str) -> Result<Vec<Token>, String> {
    let mut all = Vec::new();
    let mut letters = sql.chars().take_while(|letter| *letter != '\0').peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => {}
            '`' => {
                let mut name = String::new();
                loop {
                    match letters.next().ok_or("a name without an end")? {
                        '`' => break,
                        letter => name.push(letter),
                    }
                }
                all.push(Token::Name(name));
            }
            '\'' => {
                let mut text = String::new();
                loop {
                    match letters.next().ok_or("a text without an end")? {
                        '\\' => text.push(letters.next().ok_or("a text without an end")?),
                        '\'' if letters.peek() == Some(&'\'') => text.extend(letters.next()),
                        '\'' => break,
                        letter => text.push(letter),
                    }
                }
                all.push(Token::Text(text));
            }
            letter if letter.is_ascii_alphanumeric() => {
                let mut word = letter.to_string();
                while let Some(letter) = letters.next_if(char::is_ascii_alphanumeric) {
                    word.push(letter);
                }
                all.push(Token::Word(word.to_ascii_uppercase()));
            }
            letter => all.push(Token::Sign(letter)),
        }
    }
    Ok(all)
}

/// A row: super table, table, tag, and the columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    of: String,
    table: String,
    tag: String,
    columns: Vec<String>,
}

/// What `INSERT` says, or why it says nothing.
fn rows(sql: &str) -> Result<Vec<Row>, String> {
    let all = tokens(sql)?;
    let mut at = all.iter().peekable();
    let word = |token: Option<&Token>, wanted: &str| match token {
        Some(Token::Word(word)) if word == wanted => Ok(()),
        other => Err(format!("{other:?}, not {wanted}")),
    };
    let name = |token: Option<&Token>| match token {
        Some(Token::Name(name)) if !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains('.') => {
            Ok(name.clone())
        }
        other => Err(format!("{other:?} is no name")),
    };
    let sign = |token: Option<&Token>, wanted: char| match token {
        Some(Token::Sign(sign)) if *sign == wanted => Ok(()),
        other => Err(format!("{other:?}, not {wanted}")),
    };
    let text = |token: Option<&Token>| match token {
        Some(Token::Text(text)) => Ok(text.clone()),
        other => Err(format!("{other:?} is no text")),
    };
    word(at.next(), "INSERT")?;
    word(at.next(), "INTO")?;
    let mut found = Vec::new();
    while at.peek().is_some() {
        let table = name(at.next())?;
        word(at.next(), "USING")?;
        let of = name(at.next())?;
        for _ in 0..3 {
            at.next();
        }
        word(at.next(), "TAGS")?;
        sign(at.next(), '(')?;
        let tag = text(at.next())?;
        sign(at.next(), ')')?;
        sign(at.next(), '(')?;
        let columns: Vec<_> = at.by_ref().take(9).step_by(2).cloned().collect();
        let wanted = ["ts", "deviceid", "propertyname", "data", "type"].map(|one| Token::Name(one.into()));
        if columns != wanted {
            return Err(format!("{columns:?}"));
        }
        sign(at.next(), ')')?;
        word(at.next(), "VALUES")?;
        while at.next_if(|token| **token == Token::Sign('(')).is_some() {
            let mut columns = vec![text(at.next())?];
            while at.next_if(|token| **token == Token::Sign(',')).is_some() {
                columns.push(text(at.next())?);
            }
            sign(at.next(), ')')?;
            found.push(Row { of: of.clone(), table: table.clone(), tag: tag.clone(), columns });
        }
    }
    Ok(found)
}

fn sample(device: &str, property: &str, value: &str, at_ms: i64) -> Sample {
    Sample {
        namespace: "plant-1".into(),
        device: device.into(),
        property: property.into(),
        kind: "float".into(),
        value: value.into(),
        at_ms,
    }
}

#[test]
fn the_layout_is_that_of_kubeedges_framework() {
    assert_eq!(
        made("plant_1/boiler_2").split('(').next(),
        Some("CREATE STABLE IF NOT EXISTS `plant_1/boiler_2` ")
    );
    let sql = inserts(&[sample("boiler-2", "inlet-t", "21.5", 1_700_000_000_123)]).unwrap();
    assert_eq!(
        sql,
        ["INSERT INTO `plant_1/boiler_2/inlet-t` USING `plant_1/boiler_2` (`localtion`) TAGS ('inlet_t') \
          (`ts`,`deviceid`,`propertyname`,`data`,`type`) VALUES \
          ('2023-11-14T22:13:20.123Z','plant-1/boiler-2','inlet-t','21.5','float')"]
    );
}

#[test]
fn addresses_of_the_framework_and_urls_are_taken_and_others_refused_with_what_to_do() {
    let url = |addr: &str| Server::new(addr, "plant").map(|server| server.url);
    assert_eq!(url("td:6041").unwrap(), "http://td:6041");
    assert_eq!(url("td").unwrap(), "http://td:6041");
    assert_eq!(url("[::1]").unwrap(), "http://[::1]:6041");
    assert_eq!(url("[::1]:80").unwrap(), "http://[::1]:80");
    assert_eq!(url("https://td:443/").unwrap(), "https://td:443");
    assert!(url("td:6030").unwrap_err().contains("HOST:6041"));
    for wrong in ["", ":6041", "td:x", "td:0", "td:6041/rest", "a b:6041", "ftp://td:21", "u:p@td:6041"] {
        assert!(url(wrong).unwrap_err().contains("HOST:PORT"), "{wrong}");
    }
    assert!(Server::new("td:6041", "").unwrap_err().contains("dbName"));
}

#[test]
fn what_people_can_mend_is_waited_for_with_what_to_do() {
    let server = Server::new("td:6041", "plant").unwrap();
    let why = |status, answer: &str| server.judged(status, answer.as_bytes()).unwrap_err();
    assert_eq!(server.judged(200, br#"{"code":0,"rows":1}"#), Ok(()));
    let passing = [
        (401, r#"{"code":855,"desc":"Authentication failure"}"#, "USERNAME and PASSWORD"),
        (200, r#"{"code":904,"desc":"Database not exist"}"#, "dbName"),
        (200, "<html>", "6041"),
        (401, "", "USERNAME"),
        (502, r#"{"code":0}"#, "0x0000"),
    ];
    for (status, answer, said) in passing {
        match why(status, answer) {
            NotTaken::Passing(why) => assert!(why.contains(said), "{why}"),
            refused @ NotTaken::Refused(_) => panic!("{refused}"),
        }
    }
    let long = why(200, r#"{"code":2147493392,"desc":"Value is too long"}"#);
    assert!(matches!(&long, NotTaken::Refused(why) if why.contains("MODIFY COLUMN data")), "{long}");
}

proptest! {
    /// Whatever names and values say, the statement says them and nothing else; and only the same property shares a table.
    #[test]
    fn nothing_gets_out_of_its_quotes(
        of in prop::collection::vec(("[a-z._/`'-]{1,90}", "[ -~é`'\"\\\\\n]{0,120}", "[ -~é'\"\\\\\n;`]{0,40}", 0..5_i64), 1..20),
    ) {
        let samples: Vec<_> = of.iter().map(|(device, property, value, at)| sample(device, property, value, *at)).collect();
        let sql = inserts(&samples).unwrap();
        let mut found: Vec<_> = sql.iter().flat_map(|sql| rows(sql).unwrap()).collect();
        let mut wanted: Vec<_> = samples.iter().map(|one| Row {
            of: super_table(one),
            table: table(one),
            tag: one.property.replace('-', "_"),
            columns: vec![time(one), format!("plant-1/{}", one.device), one.property.clone(), one.value.clone(), one.kind.clone()],
        }).collect();
        found.sort();
        wanted.sort();
        prop_assert_eq!(found, wanted);
        for (a, b) in samples.iter().zip(samples.iter().skip(1)) {
            let same = (&a.device, &a.property) == (&b.device, &b.property);
            prop_assert_eq!(table(a) == table(b), same);
        }
    }
}

#[test]
fn many_long_values_are_parted_and_what_cannot_be_said_is_refused() {
    let samples: Vec<_> = (0..200).map(|at| sample("b", "t", &"'".repeat(4000), at)).collect();
    let sql = inserts(&samples).unwrap();
    assert!(sql.len() > 2 && sql.iter().all(|one| one.len() <= LONGEST_STATEMENT));
    assert_eq!(sql.iter().map(|one| rows(one).unwrap().len()).sum::<usize>(), 200);
    assert!(matches!(inserts(&[sample("b", "t", "a\0b", 1)]), Err(NotTaken::Refused(_))));
    let long = "x".repeat(LONGEST_STATEMENT);
    assert!(matches!(inserts(&[sample("b", "t", &long, 1)]), Err(NotTaken::Refused(_))));
}

#[derive(Default)]
struct Kept {
    database: bool,
    super_tables: HashSet<String>,
    rows: BTreeMap<(String, String), Row>,
    requests: usize,
    logins: HashSet<String>,
}

type StandIn = Arc<Mutex<Kept>>;

async fn answer(
    State(kept): State<StandIn>,
    Path(database): Path<String>,
    headers: HeaderMap,
    sql: String,
) -> (StatusCode, String) {
    let said = |code: u32, desc: &str| (StatusCode::OK, format!(r#"{{"code":{code},"desc":"{desc}"}}"#));
    let mut kept = kept.lock().unwrap();
    kept.requests += 1;
    kept.logins.insert(headers["authorization"].to_str().unwrap().to_owned());
    if database != "plant" || !kept.database {
        return said(0x0388, "Database not exist");
    }
    if sql.starts_with("CREATE STABLE IF NOT EXISTS") {
        let Some(Token::Name(name)) = tokens(&sql).unwrap().get(5).cloned() else {
            return said(0x2600, "syntax error");
        };
        kept.super_tables.insert(name);
        return said(0, "");
    }
    let Ok(rows) = rows(&sql) else { return said(0x2600, "syntax error") };
    if rows.iter().any(|row| !kept.super_tables.contains(&row.of)) {
        return said(0x2603, "Table does not exist");
    }
    if rows.iter().any(|row| row.columns[3].len() > 4096) {
        return said(0x2610, "Value is too long");
    }
    for row in rows {
        kept.rows.insert((row.table.clone(), row.columns[0].clone()), row);
    }
    said(0, "")
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("not in 30 s: {what}");
}

#[tokio::test]
async fn readings_wait_for_their_database_arrive_in_batches_and_find_a_dropped_table_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let kept = StandIn::default();
    let app = Router::new().route("/rest/sql/{database}", post(answer)).with_state(Arc::clone(&kept));
    let serving = tasks::TaskSet::new("stand-in");
    let (app, listener) = (Arc::new(app), Arc::new(tokio::sync::Mutex::new(Some(listener))));
    serving.spawn("serve", tasks::Restart::on_failure(), move |_| {
        let (app, listener) = (Arc::clone(&app), Arc::clone(&listener));
        async move {
            let listener = listener.lock().await.take().unwrap();
            axum::serve(listener, (*app).clone()).await
        }
    });
    let target = Target::Tdengine(Server::new(&addr, "plant").unwrap());
    let push = Push::new(directory.path().join("push.db"));
    for at in 0..300 {
        push.take(&target, sample("boiler-2", "t'`x", &format!("{at}'"), at)).await;
    }
    push.take(&target, sample("boiler-2", "t'`x", &"y".repeat(5000), 300)).await;
    eventually("it is asked without a database", || kept.lock().unwrap().requests > 0).await;
    assert!(kept.lock().unwrap().rows.is_empty());
    kept.lock().unwrap().database = true;
    let arrived = |n: usize| {
        let kept = Arc::clone(&kept);
        move || kept.lock().unwrap().rows.len() == n
    };
    eventually("all that can be said is there", arrived(300)).await;
    {
        let kept = kept.lock().unwrap();
        assert!(kept.requests < 150, "{} requests", kept.requests);
        let row = kept.rows.values().find(|row| row.columns[3] == "7'").unwrap();
        assert_eq!((row.of.as_str(), row.tag.as_str()), ("plant_1/boiler_2", "t'`x"));
    }
    // Somebody drops the tables: the next reading waits for its own to be made.
    kept.lock().unwrap().super_tables.clear();
    push.take(&target, sample("boiler-2", "t'`x", "later", 1000)).await;
    eventually("the next one is there", arrived(301)).await;
    assert_eq!(kept.lock().unwrap().logins.len(), 1);
    push.end().await;
}

#[test]
fn the_login_is_that_of_http() {
    assert_eq!(basic("root", "taosdata"), "Basic cm9vdDp0YW9zZGF0YQ==");
}
