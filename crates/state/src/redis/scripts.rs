//! The scripts that run within Redis (`lua/`).

use redis::Cmd;

/// A script, with what all of them know before it.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

/// Whether Redis is taken to know a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is called by its hash.
    Yes,
    /// Redis forgets scripts when it restarts, and a new master has none: the call brings it along.
    No,
}

/// All scripts.
pub(super) struct Scripts {
    pub(super) commit: Script,
    pub(super) pack: Script,
    pub(super) list: Script,
    pub(super) due: Script,
    pub(super) stands: Script,
    pub(super) mend: Script,
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("../../lua/packs.lua"), "\n", include_str!($file)))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            commit: script!("../../lua/commit.lua"),
            pack: script!("../../lua/pack.lua"),
            list: script!("../../lua/list.lua"),
            due: script!("../../lua/due.lua"),
            stands: script!("../../lua/stands.lua"),
            mend: script!("../../lua/mend.lua"),
        }
    }
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The beginning of a call: the keys' number, the keys and the arguments follow.
    pub(super) fn call(&self, known: Known) -> Cmd {
        let mut call = Cmd::new();
        match known {
            Known::Yes => call.arg("EVALSHA").arg(&self.hash),
            Known::No => call.arg("EVAL").arg(self.text),
        };
        call
    }
}

/// Whether Redis did not know a script.
pub(super) fn is_unknown(error: &redis::RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}
