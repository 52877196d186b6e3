//! Page tokens: where a list goes on, sealed so that only Longshore can make one, and only for the
//! list that it came from (AIP-158). They carry no permission.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use longshore_core::{
    names::{OperationId, Parent},
    time::Time,
};
use longshore_state::store::{Position, Store};
use sha2::Sha256;
use tokio::time::Instant;

use crate::{
    errors::{Reason, Refusal},
    reads::once_more,
};

/// The note of the store that the key is kept in, so that all gateways have the same.
const NOTE: &str = "page-token-key";
/// The first byte of a token.
const VERSION: u8 = 1;
/// How many bytes of the seal a token carries.
const SEAL: usize = 16;
/// The longest token that is looked at.
const MAX_TOKEN: usize = 256;

/// For how long a gateway seals with the key that it has read without another look.
const FRESH: Duration = Duration::from_secs(60);

/// The key that all gateways seal with, and when it was last looked at. Lists that do without lost
/// parts of the store can do without the part that the key is in.
#[derive(Default)]
pub(crate) struct SealKey(Mutex<Option<(String, Instant)>>);

impl SealKey {
    async fn read(&self, store: &dyn Store) -> Result<String, Refusal> {
        let known = self.known().clone();
        if let Some((key, _)) = known.as_ref().filter(|(_, looked)| looked.elapsed() < FRESH) {
            return Ok(key.clone());
        }
        let key = match (once_more(|_| key(store)).await, known) {
            (Ok(key), _) => key,
            (Err(refusal), Some((key, _))) if refusal.is_transient() => key,
            (Err(refusal), _) => return Err(refusal),
        };
        *self.known() = Some((key.clone(), Instant::now()));
        Ok(key)
    }

    fn known(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        // What lies in it is whole at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seals and opens the tokens of one list.
pub(crate) struct Tokens {
    seal: Hmac<Sha256>,
}

impl Tokens {
    /// For the list of a parent's operations that match a filter.
    ///
    /// # Errors
    /// Whatever the store says, as long as the key that is kept there is not known.
    pub(crate) async fn of_list(
        key: &SealKey,
        store: &dyn Store,
        parent: &Parent,
        filter: &str,
    ) -> Result<Self, Refusal> {
        let key = key.read(store).await?;
        Ok(Self::new(key.as_bytes(), parent, filter))
    }

    fn new(key: &[u8], parent: &Parent, filter: &str) -> Self {
        // Keys of all lengths are keys.
        let mut seal = match Hmac::<Sha256>::new_from_slice(key) {
            Ok(seal) => seal,
            Err(_) => Hmac::<Sha256>::new(&Default::default()),
        };
        for part in [parent.as_str(), filter] {
            seal.update(&(part.len() as u64).to_be_bytes());
            seal.update(part.as_bytes());
        }
        Self { seal }
    }

    /// The token of the page behind a place.
    pub(crate) fn token(&self, position: &Position) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(position.create_time.as_micros().to_be_bytes());
        bytes.extend(position.id.as_str().as_bytes());
        let seal = self.seal.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend(&seal[..SEAL]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place that a token of this list names; `None` if it is none.
    pub(crate) fn position(&self, token: &str) -> Option<Position> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, seal) = bytes.split_last_chunk::<SEAL>()?;
        self.seal.clone().chain_update(body).verify_truncated_left(seal).ok()?;
        let (&VERSION, body) = body.split_first()? else { return None };
        let (time, id) = body.split_first_chunk()?;
        Some(Position {
            create_time: Time::from_micros(i64::from_be_bytes(*time)),
            id: OperationId::parse(std::str::from_utf8(id).ok()?).ok()?,
        })
    }
}

/// The key that all gateways seal with; made when none is there.
async fn key(store: &dyn Store) -> Result<String, Refusal> {
    if let Some(key) = store.note(NOTE).await? {
        return Ok(key);
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|_| Refusal::new(Reason::Internal, "the system has no random numbers"))?;
    Ok(store.note_or(NOTE, &hex::encode(random)).await?)
}

#[cfg(test)]
mod tests {
    use longshore_state::embedded::EmbeddedStore;

    use super::*;

    fn tokens(parent: &str, filter: &str) -> Tokens {
        Tokens::new(b"key", &Parent::parse(parent).unwrap(), filter)
    }

    fn position() -> Position {
        Position {
            create_time: Time::from_micros(1_700_000_000_000_001),
            id: OperationId::random(),
        }
    }

    #[test]
    fn a_token_names_the_place_that_it_was_made_for() {
        let position = position();
        let token = tokens("a/b", "done=true").token(&position);
        assert_eq!(tokens("a/b", "done=true").position(&token), Some(position));
    }

    #[tokio::test]
    async fn a_key_is_looked_at_once_in_a_while() {
        let (here, empty) =
            (EmbeddedStore::in_memory().unwrap(), EmbeddedStore::in_memory().unwrap());
        let key = SealKey::default();
        let first = key.read(&here).await.unwrap();
        assert_eq!(here.note(NOTE).await.unwrap().as_ref(), Some(&first));
        assert_eq!(key.read(&empty).await.unwrap(), first, "without another look");
        assert_eq!(empty.note(NOTE).await.unwrap(), None);
    }

    #[test]
    fn a_token_is_good_for_its_own_list_only() {
        let token = tokens("a/b", "").token(&position());
        assert_eq!(tokens("a", "/b").position(&token), None);
        assert_eq!(tokens("a/b", "done=true").position(&token), None);
        let other_key = Tokens::new(b"another", &Parent::parse("a/b").unwrap(), "");
        assert_eq!(other_key.position(&token), None);
    }

    #[test]
    fn no_changed_token_is_accepted() {
        let tokens = tokens("a/b", "");
        let token = tokens.token(&position());
        for place in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(tokens.position(std::str::from_utf8(&forged).unwrap()), None, "{place}");
        }
        for bad in ["", "A", "====", "\u{e9}", &"A".repeat(1000)] {
            assert_eq!(tokens.position(bad), None);
        }
    }
}
