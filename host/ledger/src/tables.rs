//! The tables of the file.

use redb::{TableError, WriteTransaction};

use crate::{
    Result,
    record::{ENTITIES, MISSING, RUNS, SET_NUMBERS, SETS, UNIT_NUMBERS, UNITS},
};

/// Creates the missing tables.
pub(crate) fn create_tables(transaction: &WriteTransaction) -> Result<()> {
    transaction.open_table(RUNS)?;
    transaction.open_table(UNITS)?;
    transaction.open_table(UNIT_NUMBERS)?;
    transaction.open_table(SETS)?;
    transaction.open_table(SET_NUMBERS)?;
    transaction.open_table(ENTITIES)?;
    transaction.open_table(MISSING)?;
    Ok(())
}

/// Returns a table, or `None` if the file does not have it.
pub(crate) fn optional<T>(opened: Result<T, TableError>) -> Result<Option<T>> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
