use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    gateway: Gateway,
    redis: Redis,
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Gateway {
    listen: SocketAddr,
    limit: u16,
    ratio: f64,
    open: bool,
    #[serde(with = "humantime_serde")]
    wait: Duration,
    format: Format,
    types: Vec<String>,
    names: BTreeMap<String, String>,
    note: Option<String>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            limit: 1,
            ratio: 0.5,
            open: false,
            wait: Duration::from_secs(1),
            format: Format::Pretty,
            types: Vec::new(),
            names: BTreeMap::new(),
            note: None,
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Pretty,
    Json,
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Redis {
    url: Url,
    password: u8,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(try_from = "String", into = "String")]
struct Url(String);

impl From<Url> for String {
    fn from(url: Url) -> Self {
        url.0
    }
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("redis://") {
            Ok(Self(text))
        } else {
            Err(format!("{text} is no redis:// URL"))
        }
    }
}

#[derive(Debug, Deserialize)]
struct Needy {
    #[expect(dead_code, reason = "only its absence matters")]
    redis: NeedyRedis,
}

#[derive(Debug, Deserialize)]
struct NeedyRedis {
    #[expect(dead_code, reason = "only its absence matters")]
    url: String,
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn flag(flag: &'static str, key: &'static str, value: &str) -> Override {
    Override { flag, key, value: value.to_owned() }
}

fn from_variables(pairs: &[(&str, &str)]) -> Result<Settings, Error> {
    load(None, "LONGSHORE", variables(pairs), &[])
}

fn refusal(text: &str) -> (String, String) {
    let file = file(text);
    let error = load::<Settings>(Some(file.path()), "LONGSHORE", [], &[]).unwrap_err();
    (error.to_string(), file.path().display().to_string())
}

#[test]
fn needs_nothing() {
    assert_eq!(from_variables(&[]).unwrap(), Settings::default());
}

#[test]
fn flags_are_stronger_than_variables_and_these_than_the_file() {
    let file = file("[gateway]\nlisten = '127.0.0.1:1'\nlimit = 1\nwait = '3s'\n");
    let variables = variables(&[
        ("LONGSHORE_GATEWAY__LIMIT", "2"),
        ("LONGSHORE_GATEWAY__LISTEN", "127.0.0.1:2"),
    ]);
    let flags = [flag("--listen", "gateway.listen", "127.0.0.1:3")];
    let settings: Settings = load(Some(file.path()), "LONGSHORE", variables, &flags).unwrap();
    assert_eq!(settings.gateway.listen.port(), 3);
    assert_eq!(settings.gateway.limit, 2);
    assert_eq!(settings.gateway.wait, Duration::from_secs(3));
}

#[test]
fn variables_spell_every_type() {
    let settings = from_variables(&[
        ("LONGSHORE_GATEWAY__LIMIT", "7"),
        ("LONGSHORE_GATEWAY__RATIO", "0.25"),
        ("LONGSHORE_GATEWAY__OPEN", "true"),
        ("LONGSHORE_GATEWAY__WAIT", "1m 30s"),
        ("LONGSHORE_GATEWAY__FORMAT", "json"),
        ("LONGSHORE_GATEWAY__TYPES", "['a', 'b']"),
        ("LONGSHORE_GATEWAY__NAMES", "{ a = 'b' }"),
        ("LONGSHORE_GATEWAY__NOTE", "12"),
    ])
    .unwrap();
    assert_eq!(
        settings.gateway,
        Gateway {
            limit: 7,
            ratio: 0.25,
            open: true,
            wait: Duration::from_secs(90),
            format: Format::Json,
            types: vec!["a".into(), "b".into()],
            names: BTreeMap::from([("a".into(), "b".into())]),
            note: Some("12".into()),
            ..Gateway::default()
        }
    );
}

#[test]
fn variables_of_others_are_no_settings() {
    let settings = from_variables(&[
        ("LONGSHORE_SERVER", "http://127.0.0.1:1"),
        ("LONGSHORE_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("LONGSHOREMAN__LIMIT", "1"),
        ("GATEWAY__LIMIT", "9"),
        ("LONGSHORE_GATEWAY__LIMIT", ""),
    ]);
    assert_eq!(settings.unwrap(), Settings::default());
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_what_there_is() {
    let (message, path) = refusal("[redis]\nurll = 'x'\n");
    assert_eq!(
        message,
        format!("{path}: redis.urll = x: unknown field `urll`, expected `url` or `password`")
    );
    let (message, path) = refusal("[redys]\nurl = 'x'\n");
    assert_eq!(
        message,
        format!("{path}: redys: unknown field `redys`, expected `gateway` or `redis`")
    );
}

#[test]
fn an_unknown_variable_is_named() {
    let error = from_variables(&[("LONGSHORE_REDIS__HOST", "x")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the environment variable LONGSHORE_REDIS__HOST: redis.host = x: unknown field `host`, expected `url` or `password`"
    );
}

#[test]
fn a_bad_value_is_named_with_what_was_expected() {
    let (message, path) = refusal("[gateway]\nlimit = 70000\n");
    assert_eq!(
        message,
        format!("{path}: gateway.limit = 70000: invalid value: integer `70000`, expected u16")
    );
    let (message, path) = refusal("[gateway]\nlimit = true\n");
    assert_eq!(
        message,
        format!("{path}: gateway.limit = true: invalid type: boolean `true`, expected u16")
    );
    let (message, path) = refusal("[gateway]\nformat = 'xml'\n");
    assert_eq!(
        message,
        format!("{path}: gateway.format = xml: unknown variant `xml`, expected `pretty` or `json`")
    );
    let (message, path) = refusal("[gateway]\ntypes = ['a', 1]\n");
    assert_eq!(
        message,
        format!("{path}: gateway.types[1] = 1: invalid type: integer `1`, expected a string")
    );
    let (message, path) = refusal("gateway = 1\n");
    assert_eq!(
        message,
        format!("{path}: gateway = 1: invalid type: integer `1`, expected struct Gateway")
    );

    let flags = [flag("--listen", "gateway.listen", "here")];
    let error = load::<Settings>(None, "LONGSHORE", [], &flags).unwrap_err().to_string();
    assert_eq!(error, "the flag --listen: gateway.listen = here: invalid socket address syntax");
    let error = from_variables(&[("LONGSHORE_GATEWAY__WAIT", "soon")]).unwrap_err().to_string();
    assert!(
        error
            .starts_with("the environment variable LONGSHORE_GATEWAY__WAIT: gateway.wait = soon: "),
        "{error}"
    );
}

#[test]
fn a_missing_setting_is_named_with_its_variable() {
    let error = load::<Needy>(None, "LONGSHORE", variables(&[("LONGSHORE_REDIS__X", "1")]), &[])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the setting redis.url is missing: set it in the file, or as LONGSHORE_REDIS__URL"
    );
}

#[test]
fn passwords_are_not_shown() {
    let cases = [
        "[redis]\nurl = 'rediss://me:geheim@h:1'\n",
        "[redis]\npassword = 'geheim'\n",
        "[redis]\nurl = 'redis://:geheim@h\n",
        "redis = 'redis://:geheim@h'\n",
    ];
    for text in cases {
        let (message, _) = refusal(text);
        assert!(!message.contains("geheim"), "{message}");
    }
    assert_eq!(redact("nats://token@a:1,nats://u:p@b:2,c:3"), "nats://***@a:1,nats://***@b:2,c:3");
    assert_eq!(redact("redis://:pass,word@a:1,b:2/0"), "redis://***@a:1,b:2/0");
    assert_eq!(redact("redis://a:1"), "redis://a:1");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_the_line() {
    let (message, path) = refusal("[gateway]\nlimit = \n");
    assert!(message.starts_with(&format!("{path} is not valid TOML: line 2: ")), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load::<Settings>(Some(Path::new("/nowhere/longshore.toml")), "LONGSHORE", [], &[])
        .unwrap_err();
    assert_eq!(error.to_string(), "can't read the settings file /nowhere/longshore.toml");
}

#[test]
fn printed_settings_say_where_they_come_from_and_keep_secrets() {
    let file = file("[gateway]\nlimit = 5\ntypes = [\"a\"]\nnames = { \"x.y\" = \"z\" }");
    let variables = variables(&[
        ("LONGSHORE_REDIS__URL", "redis://me:geheim@host:1"),
        ("LONGSHORE_REDIS__PASSWORD", "77"),
    ]);
    let flags = [flag("--listen", "gateway.listen", "[::1]:5")];
    let merged = Merged::gather(Some(file.path()), "LONGSHORE", variables, &flags).unwrap();
    let settings: Settings = merged.read().unwrap();
    let name = file.path().display().to_string();

    let set = merged.print(&settings, Extent::Set).unwrap();
    let expected = format!(
        "[gateway]\nlimit = 5  # {name}\nlisten = \"[::1]:5\"  # the flag --listen\n\
         types = [\"a\"]  # {name}\n\n[gateway.names]\n\"x.y\" = \"z\"  # {name}\n\n\
         [redis]\npassword = \"***\"  # the environment variable LONGSHORE_REDIS__PASSWORD\n\
         url = \"redis://***@host:1\"  # the environment variable LONGSHORE_REDIS__URL\n"
    );
    assert_eq!(set, expected);

    let all = merged.print(&settings, Extent::Effective).unwrap();
    assert!(all.contains("\nratio = 0.5\n") && all.contains("\nwait = \"1s\"\n"), "{all}");
    assert!(!all.contains("geheim") && !all.contains("77"), "{all}");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let printed = |merged: &Merged| {
        let settings: Settings = merged.read().unwrap();
        (merged.print(&settings, Extent::Effective).unwrap(), settings)
    };
    let variables = variables(&[
        ("LONGSHORE_REDIS__URL", "redis://host"),
        ("LONGSHORE_GATEWAY__NOTE", "a \"quoted\" # note"),
        ("LONGSHORE_GATEWAY__TYPES", "[\"one\", \"two\"]"),
    ]);
    let (text, settings) = printed(&Merged::gather(None, "LONGSHORE", variables, &[]).unwrap());
    let file = file(&text.replace("\"***\"", "0"));
    let (_, again) = printed(&Merged::gather(Some(file.path()), "LONGSHORE", [], &[]).unwrap());
    assert_eq!(again, settings);
}
