//! `inventory`: what a client says of its machine.

use super::{Connection, HostId, column_text};
use crate::clock::Timestamp;

/// Names of the posted fields and their columns.
pub const FIELDS: [(&str, &str); 28] = [
    ("primaryUser", "iPrimaryUser"),
    ("other1", "iOtherTag"),
    ("other2", "iOtherTag1"),
    ("sysman", "iSysman"),
    ("sysproduct", "iSysproduct"),
    ("sysversion", "iSysversion"),
    ("sysserial", "iSysserial"),
    ("sysuuid", "iSystemUUID"),
    ("systype", "iSystype"),
    ("biosversion", "iBiosversion"),
    ("biosvendor", "iBiosvendor"),
    ("biosdate", "iBiosdate"),
    ("mbman", "iMbman"),
    ("mbproductname", "iMbproductname"),
    ("mbversion", "iMbversion"),
    ("mbserial", "iMbserial"),
    ("mbasset", "iMbasset"),
    ("cpuman", "iCpuman"),
    ("cpuversion", "iCpuversion"),
    ("cpucurrent", "iCpucurrent"),
    ("cpumax", "iCpumax"),
    ("mem", "iMem"),
    ("caseman", "iCaseman"),
    ("casever", "iCasever"),
    ("caseserial", "iCaseserial"),
    ("caseasset", "iCaseasset"),
    ("gpuvendors", "iGpuvendors"),
    ("gpuproducts", "iGpuproducts"),
];

/// Stores fields of a host's inventory; fields that are not given keep their value.
///
/// `fields` are column names from [`FIELDS`] or from [`split_disk`], with their texts.
///
/// # Errors
/// If the database fails.
pub async fn store(
    conn: &mut Connection,
    now: Timestamp,
    host: HostId,
    fields: &[(&'static str, String)],
) -> sqlx::Result<()> {
    let known: Option<(i64,)> = sqlx::query_as("SELECT iID FROM inventory WHERE iHostID = ?")
        .bind(host)
        .fetch_optional(&mut *conn)
        .await?;
    if known.is_none() {
        sqlx::query("INSERT INTO inventory (iHostID, iCreateDate) VALUES (?, ?)")
            .bind(host)
            .bind(now.to_string())
            .execute(&mut *conn)
            .await?;
    }
    for (column, text) in fields {
        // Column names are our own constants, never the client's words.
        sqlx::query(&format!(
            "UPDATE inventory SET {column} = ? WHERE iHostID = ?"
        ))
        .bind(column_text(text, 250))
        .bind(host)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Splits `Model=<m>, FwRev=<f>, SerialNo=<s>` into its three columns: each part ends at a comma,
/// the serial number runs to the end.
#[must_use]
pub fn split_disk(text: &str) -> Vec<(&'static str, String)> {
    let lower = text.to_ascii_lowercase();
    let part = |key: &str, to_end: bool| {
        let start = lower.find(key)? + key.len();
        let rest = text.get(start..)?;
        let value = if to_end {
            rest
        } else {
            rest.split(',').next()?
        };
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    [
        ("iHdmodel", part("model=", false)),
        ("iHdfirmware", part("fwrev=", false)),
        ("iHdserial", part("serialno=", true)),
    ]
    .into_iter()
    .filter_map(|(column, value)| Some((column, value?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn disk_line_is_split() {
        let parts = split_disk("model=QEMU DISK, FwRev=2.5+, SerialNo=QM 0001, x");
        let values: Vec<&str> = parts.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["QEMU DISK", "2.5+", "QM 0001, x"]);
        assert!(split_disk("").is_empty());
    }

    #[tokio::test]
    async fn fields_are_kept_until_overwritten() {
        let store_ = Store::in_memory().await.unwrap();
        let mut conn = store_.conn().await.unwrap();
        let host = HostId(1);
        for (column, text) in [
            ("iSysman", "QEMU"),
            ("iMem", "MemTotal: 1 kB"),
            ("iSysman", "x"),
        ] {
            store(&mut conn, Timestamp(0), host, &[(column, text.to_owned())])
                .await
                .unwrap();
        }
        let row: (String, String) = sqlx::query_as("SELECT iSysman, iMem FROM inventory")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        assert_eq!(row, ("x".into(), "MemTotal: 1 kB".into()));
    }
}
