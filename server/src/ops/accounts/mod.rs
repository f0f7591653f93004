//! Who may use the page and the API: accounts, logins, tokens.

mod brake;
mod logins;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use blake3::Hash;
use tokio::sync::Semaphore;

use self::brake::{Brake, Familiar};
use self::logins::Logins;
use super::{Ops, blocking};
use crate::clock;
use crate::domain::account::{Account, AccountKind, AccountName, NewPassword, Role, StoredSecret};
use crate::domain::group;
use crate::domain::reason::BrokenRow;
use crate::logs::{Level, Subject};
use crate::store::{AddAccountError, StoreError};

/// Somebody who asks, and what that one may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub who: Who,
    /// What.
    pub role: Role,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// Root, or the server's own user, on this machine.
    Local,
    /// A person.
    User(AccountName),
    /// A program.
    Token(AccountName),
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str("the command line"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Token(name) => write!(f, "token {name}"),
        }
    }
}

/// What a browser shows from now on that it is logged in.
#[derive(Clone)]
pub struct Cookie(pub String);

/// Not shown.
impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookie(..)")
    }
}

impl Cookie {
    /// How long it is good at most.
    pub const LONGEST: Duration = logins::LONGEST;

    /// What a form of this login has in it, so that it cannot come from another page.
    #[must_use]
    pub fn form_key(&self) -> String {
        Hash::from_bytes(blake3::derive_key(FORM_CONTEXT, self.0.as_bytes()))
            .to_hex()
            .to_string()
    }

    /// Whether a form or a request with this key belongs to this login.
    #[must_use]
    pub fn is_form_key(&self, key: &str) -> bool {
        // Hashes are compared in constant time.
        blake3::hash(key.as_bytes()) == blake3::hash(self.form_key().as_bytes())
    }

    fn hash(&self) -> Hash {
        blake3::hash(self.0.as_bytes())
    }
}

const FORM_CONTEXT: &str = "fos-server 2026-11-30 key of the forms of a login";

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Which of the two is not said.
    #[error("name or password is wrong")]
    Wrong,
    /// Too many were wrong.
    #[error("too many tries; try again in {}", crate::text::seconds(*.0))]
    Wait(u64),
    /// The link is not good any more.
    #[error(
        "this link was used already, or is of an earlier start of the server; make an account with \
         fos-server user add"
    )]
    NoSetup,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An account could not be made.
    #[error(transparent)]
    Add(#[from] AddAccountError),
    /// A programming error.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What of accounts is kept in memory.
#[derive(Debug)]
pub(super) struct Accounts {
    logins: Mutex<Logins>,
    addresses: Mutex<Brake<IpAddr>>,
    /// Shorter pauses. They are for addresses from which the name has never been right: else anybody could keep an
    /// account from its owner.
    names: Mutex<Brake<String>>,
    familiar: Mutex<Familiar<(String, IpAddr)>>,
    /// Who hashes a password: 19 MiB and some 20 ms of a processor each.
    hashing: Arc<Semaphore>,
    /// The hash of what the link for the first account has in it.
    setup: Mutex<Option<Hash>>,
    /// Held by whoever makes the first account.
    setting_up: tokio::sync::Mutex<()>,
}

/// Passwords that are hashed at a time.
const HASHING: usize = 2;

/// Longest pause for an address, and for a name.
const LONGEST_OF_ADDRESS: Duration = Duration::from_secs(60);
const LONGEST_OF_NAME: Duration = Duration::from_secs(10);

impl Default for Accounts {
    fn default() -> Self {
        Self {
            logins: Mutex::default(),
            addresses: Mutex::new(Brake::new(LONGEST_OF_ADDRESS)),
            names: Mutex::new(Brake::new(LONGEST_OF_NAME)),
            familiar: Mutex::default(),
            hashing: Arc::new(Semaphore::new(HASHING)),
            setup: Mutex::default(),
            setting_up: tokio::sync::Mutex::default(),
        }
    }
}

impl Ops {
    /// All accounts by kind and name.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let (accounts, broken) = self.store.accounts().await?;
        self.name_broken(&broken);
        Ok(accounts)
    }

    /// An account that makes no sense opens nothing, and keeps no other one from its owner.
    fn name_broken(&self, broken: &[BrokenRow]) {
        for row in broken {
            let text = format!("an account opens nothing, as the database holds no sense: {row}");
            let what = "accounts that make no sense";
            let now = clock::now();
            self.log
                .repeated(now, Level::Error, &Subject::Server, what, &text);
        }
    }

    /// Adds a person.
    ///
    /// # Errors
    /// If the name is taken.
    pub async fn add_user(
        &self,
        name: AccountName,
        role: Role,
        password: NewPassword,
    ) -> Result<(), LoginError> {
        let account = Account {
            kind: AccountKind::User,
            name,
            role,
            secret: self.hashed(password).await?,
            created_at: clock::now(),
        };
        Ok(self.store.add_account(account).await?)
    }

    /// Changes role or password of a person; `false` if there is none. With another password every login of it
    /// is over.
    ///
    /// # Errors
    /// If it is not stored.
    pub async fn change_user(
        &self,
        name: AccountName,
        role: Option<Role>,
        password: Option<NewPassword>,
    ) -> Result<bool, LoginError> {
        let secret = match password {
            Some(password) => Some(self.hashed(password).await?),
            None => None,
        };
        let changed = self
            .store
            .change_account(AccountKind::User, name, role, secret);
        Ok(changed.await?)
    }

    /// Adds a program; answers its token, which nobody can find out later.
    ///
    /// # Errors
    /// If the name is taken.
    pub async fn add_token(&self, name: AccountName, role: Role) -> Result<String, LoginError> {
        let token = format!("{TOKEN}{}", random()?);
        let account = Account {
            kind: AccountKind::Token,
            name,
            role,
            secret: token_secret(&token),
            created_at: clock::now(),
        };
        self.store.add_account(account).await?;
        Ok(token)
    }

    /// Removes an account: from now on it opens nothing. `false` if there is none.
    ///
    /// # Errors
    /// If it is not stored.
    pub async fn remove_account(
        &self,
        kind: AccountKind,
        name: AccountName,
    ) -> Result<bool, StoreError> {
        self.store.remove_account(kind, name).await
    }

    /// Logs a person in who has name and password.
    ///
    /// # Errors
    /// If they are wrong, or were too often.
    pub async fn log_in(
        &self,
        from: IpAddr,
        name: &str,
        password: &str,
    ) -> Result<Cookie, LoginError> {
        self.may_try(from, name)?;
        let accounts = self.known_accounts().await?;
        let found = accounts
            .into_iter()
            .find(|found| found.kind == AccountKind::User && found.name.as_str() == name);
        // Whether there is such an account does not show in the time.
        let secret = found.as_ref().map(|found| found.secret.0.clone());
        let is_known = found.is_some();
        let secret = secret.unwrap_or_else(|| NOBODY.to_owned());
        let is_right = match password.len() {
            0..=LONGEST_TRIED => self.is_right(password.to_owned(), secret).await?,
            _ => false,
        };
        let Some(account) = found.filter(|_| is_known && is_right) else {
            self.log.repeated(
                clock::now(),
                Level::Warn,
                &Subject::Host(from.to_string()),
                "wrong names or passwords",
                "tried to log in with a wrong name or password",
            );
            return Err(LoginError::Wrong);
        };
        lock(&self.accounts.addresses).right(&group(from));
        lock(&self.accounts.names).right(&tried(name));
        lock(&self.accounts.familiar).add((tried(name), group(from)));
        let line = format!("user {} has logged in", account.name);
        self.log
            .info(clock::now(), &Subject::Host(from.to_string()), &line);
        self.begin(account)
    }

    /// Counts a try.
    fn may_try(&self, from: IpAddr, name: &str) -> Result<(), LoginError> {
        let now = Instant::now();
        let known = (tried(name), group(from));
        let is_familiar = lock(&self.accounts.familiar).has(&known);
        let (name, from) = known;
        let mut addresses = lock(&self.accounts.addresses);
        let mut names = lock(&self.accounts.names);
        let of_name = names.wait(now, &name).filter(|_| !is_familiar);
        if let Some(wait) = addresses.wait(now, &from).max(of_name) {
            return Err(LoginError::Wait(wait.as_secs() + 1));
        }
        addresses.tries(now, &from);
        if !is_familiar {
            names.tries(now, &name);
        }
        Ok(())
    }

    fn begin(&self, account: Account) -> Result<Cookie, LoginError> {
        let cookie = Cookie(random()?);
        let mut logins = lock(&self.accounts.logins);
        logins.add(Instant::now(), cookie.hash(), account.name, account.secret);
        Ok(cookie)
    }

    /// Ends a login.
    pub fn log_out(&self, cookie: &Cookie) {
        lock(&self.accounts.logins).remove(&cookie.hash());
    }

    /// Who is logged in with this cookie, by what the database says now. The login is in use.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn caller_by_cookie(&self, cookie: &Cookie) -> Result<Option<Caller>, StoreError> {
        let known = lock(&self.accounts.logins).user(Instant::now(), &cookie.hash());
        self.caller_of(known).await
    }

    /// The same for a page that is open: it does not keep the login from ending by itself.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn watcher_by_cookie(&self, cookie: &Cookie) -> Result<Option<Caller>, StoreError> {
        let known = lock(&self.accounts.logins).watching(Instant::now(), &cookie.hash());
        self.caller_of(known).await
    }

    async fn caller_of(
        &self,
        known: Option<(AccountName, StoredSecret)>,
    ) -> Result<Option<Caller>, StoreError> {
        let Some((name, secret)) = known else {
            return Ok(None);
        };
        let accounts = self.known_accounts().await?;
        let mut users = accounts
            .into_iter()
            .filter(|account| account.kind == AccountKind::User);
        let found = users.find(|user| user.name == name && user.secret == secret);
        Ok(found.map(|user| Caller {
            who: Who::User(user.name),
            role: user.role,
        }))
    }

    /// Which program has this token.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn caller_by_token(&self, token: &str) -> Result<Option<Caller>, StoreError> {
        if !token.starts_with(TOKEN) || token.len() > LONGEST_TRIED {
            return Ok(None);
        }
        // A hash of 256 random bits: how much of it is right helps nobody.
        let secret = token_secret(token);
        let accounts = self.known_accounts().await?;
        let mut tokens = accounts
            .into_iter()
            .filter(|account| account.kind == AccountKind::Token);
        let found = tokens.find(|found| found.secret == secret);
        Ok(found.map(|token| Caller {
            who: Who::Token(token.name),
            role: token.role,
        }))
    }

    /// What the link for the first account has in it: a new one with every call. `None` if there is a person
    /// already.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn begin_setup(&self) -> Result<Option<String>, LoginError> {
        if self.has_users().await? {
            return Ok(None);
        }
        let code = random()?;
        *lock(&self.accounts.setup) = Some(blake3::hash(code.as_bytes()));
        Ok(Some(code))
    }

    /// Whether the link for the first account is good.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn is_setup(&self, code: &str) -> Result<bool, StoreError> {
        let is_right = *lock(&self.accounts.setup) == Some(blake3::hash(code.as_bytes()));
        Ok(is_right && !self.has_users().await?)
    }

    /// Makes the first account, an administrator's, and logs in.
    ///
    /// # Errors
    /// If the link is not good.
    pub async fn set_up(
        &self,
        code: &str,
        name: AccountName,
        password: NewPassword,
    ) -> Result<Cookie, LoginError> {
        // Before the password is hashed, which takes its time: anybody can ask.
        if !self.is_setup(code).await? {
            return Err(LoginError::NoSetup);
        }
        let account = Account {
            kind: AccountKind::User,
            name,
            role: Role::Admin,
            secret: self.hashed(password).await?,
            created_at: clock::now(),
        };
        // One at a time, however many come at the same moment. A request that is dropped leaves the link as it was:
        // good until there is an account.
        let _turn = self.accounts.setting_up.lock().await;
        if !self.is_setup(code).await? {
            return Err(LoginError::NoSetup);
        }
        self.store.add_account(account.clone()).await?;
        *lock(&self.accounts.setup) = None;
        let line = format!("the first account, {}, is made", account.name);
        self.log.service(clock::now(), &line);
        self.begin(account)
    }

    /// All accounts, for somebody who is not known yet: what is the matter with the database is not for strangers.
    async fn known_accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.stored_accounts().await.map(|(accounts, _)| accounts)
    }

    async fn stored_accounts(&self) -> Result<(Vec<Account>, Vec<BrokenRow>), StoreError> {
        let stored = self.store.accounts().await.map_err(|cause| {
            let text = format!("nobody can log in: {cause}");
            let what = "logins without a database";
            let now = clock::now();
            self.log
                .repeated(now, Level::Error, &Subject::Server, what, &text);
            StoreError::Unavailable("the server's log has the cause".into())
        })?;
        self.name_broken(&stored.1);
        Ok(stored)
    }

    /// Whether there is a person's account. One that makes no sense may be one.
    async fn has_users(&self) -> Result<bool, StoreError> {
        let (accounts, broken) = self.stored_accounts().await?;
        let is_user = |account: &Account| account.kind == AccountKind::User;
        Ok(!broken.is_empty() || accounts.iter().any(is_user))
    }

    async fn hashed(&self, password: NewPassword) -> Result<StoredSecret, LoginError> {
        let hash = move || {
            let hash = Argon2::default().hash_password(password.as_str().as_bytes());
            hash.map(|hash| hash.to_string())
        };
        match blocking(&self.accounts.hashing, hash).await {
            Ok(Ok(hash)) => Ok(StoredSecret(hash)),
            Ok(Err(error)) => Err(LoginError::Internal(error.to_string())),
            Err(error) => Err(LoginError::Internal(error.to_string())),
        }
    }

    async fn is_right(&self, password: String, secret: String) -> Result<bool, LoginError> {
        let verify = move || {
            Argon2::default()
                .verify_password(password.as_bytes(), secret.as_str())
                .is_ok()
        };
        let verified = blocking(&self.accounts.hashing, verify).await;
        verified.map_err(|error| LoginError::Internal(error.to_string()))
    }
}

/// What tokens begin with, so that programs that look for secrets in files find them.
const TOKEN: &str = "fos_";

/// Nobody's password, hashed as those of others.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
    MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";

/// Longer ones are wrong without a look.
const LONGEST_TRIED: usize = 1000;

fn token_secret(token: &str) -> StoredSecret {
    StoredSecret(blake3::hash(token.as_bytes()).to_hex().to_string())
}

/// A name as it is counted: whatever somebody sends as one.
fn tried(name: &str) -> String {
    name.chars().take(40).collect()
}

/// 256 random bits in hexadecimal digits.
fn random() -> Result<String, LoginError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| LoginError::Internal(error.to_string()))?;
    Ok(Hash::from_bytes(bytes).to_hex().to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
