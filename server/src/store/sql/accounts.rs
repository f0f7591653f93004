//! `fos_accounts`.

use super::row::{Row, args};
use super::tx::Tx;
use crate::domain::account::{Account, AccountKind, AccountName, Role, StoredSecret};
use crate::domain::reason::BrokenRow;
use crate::store::{AddAccountError, MAX_ACCOUNTS, Result, StoreError};

/// Adds an account.
pub(super) async fn add(tx: &mut Tx, account: Account) -> std::result::Result<(), AddAccountError> {
    let (kind, name) = (account.kind, account.name);
    if find(tx, kind, &name).await? {
        return Err(AddAccountError::NameTaken { kind, name });
    }
    let count = tx.number("SELECT COUNT(*) FROM fos_accounts", Vec::new());
    if count.await?.unwrap_or(0) >= i64::from(MAX_ACCOUNTS) {
        return Err(AddAccountError::TooMany);
    }
    let sql =
        "INSERT INTO fos_accounts (kind, name, role, secret, createdAt) VALUES (?, ?, ?, ?, ?)";
    let values = args![
        kind.code(),
        name.as_str(),
        account.role.code(),
        account.secret.0,
        account.created_at,
    ];
    tx.run(sql, values).await?;
    Ok(())
}

/// Changes role and secret of an account; `false` if there is none.
pub(super) async fn change(
    tx: &mut Tx,
    kind: AccountKind,
    name: AccountName,
    role: Option<Role>,
    secret: Option<StoredSecret>,
) -> Result<bool> {
    if !find(tx, kind, &name).await? {
        return Ok(false);
    }
    if let Some(role) = role {
        let sql = "UPDATE fos_accounts SET role = ? WHERE kind = ? AND name = ?";
        tx.run(sql, args![role.code(), kind.code(), name.as_str()])
            .await?;
    }
    if let Some(secret) = secret {
        let sql = "UPDATE fos_accounts SET secret = ? WHERE kind = ? AND name = ?";
        tx.run(sql, args![secret.0, kind.code(), name.as_str()])
            .await?;
    }
    Ok(true)
}

/// Removes an account; `false` if there is none.
pub(super) async fn remove(tx: &mut Tx, kind: AccountKind, name: AccountName) -> Result<bool> {
    let sql = "DELETE FROM fos_accounts WHERE kind = ? AND name = ?";
    let removed = tx.run(sql, args![kind.code(), name.as_str()]).await?;
    Ok(removed > 0)
}

/// All accounts by kind and name, and what is broken of the others, which open nothing.
pub(super) async fn all(tx: &mut Tx) -> Result<(Vec<Account>, Vec<BrokenRow>)> {
    let sql = "SELECT kind, name, role, secret, createdAt FROM fos_accounts ORDER BY kind, name";
    let rows = tx.rows(sql, Vec::new()).await?;
    let (mut accounts, mut broken) = (Vec::new(), Vec::new());
    for row in &rows {
        match account(row) {
            Ok(account) => accounts.push(account),
            Err(StoreError::Broken(row)) => broken.push(*row),
            Err(error) => return Err(error),
        }
    }
    Ok((accounts, broken))
}

fn account(row: &Row) -> Result<Account> {
    let cells = row.of("fos_accounts", &["kind", "name"]);
    Ok(Account {
        kind: cells.parsed("kind", "user or token", AccountKind::from_code)?,
        name: cells.parsed("name", "the name of an account", |text| text.parse().ok())?,
        role: cells.parsed("role", "viewer, operator or admin", Role::from_code)?,
        secret: StoredSecret(cells.text("secret")?),
        created_at: cells.time("createdAt")?,
    })
}

async fn find(tx: &mut Tx, kind: AccountKind, name: &AccountName) -> Result<bool> {
    let sql = "SELECT name FROM fos_accounts WHERE kind = ? AND name = ?";
    let row = tx.row(sql, args![kind.code(), name.as_str()]).await?;
    Ok(row.is_some())
}
