//! Which Arrow column a Rust type becomes.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use realsyn_plan::ids::Id;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A type that one cell of a table can hold.
///
/// Strings are `Utf8` and lists are `List` with 32-bit offsets and elements called `element`, which every Parquet reader
/// understands. An enum without data may implement it as `DataType::Utf8`; its variants' serialised names are stored.
pub trait Cell {
    /// Whether the column may hold nulls: only `Option` does.
    const NULLABLE: bool = false;

    /// The column's Arrow type.
    fn data_type() -> DataType;
}

/// A row of a table: a struct whose fields are the columns. Made by [`table_row!`](crate::table_row).
pub trait Row: Serialize + DeserializeOwned {
    /// The columns in the order in which they are written.
    fn fields() -> Vec<FieldRef>;
}

/// The column `name` for values of type `T`.
pub fn column<T: Cell>(name: &str) -> FieldRef {
    Arc::new(Field::new(name, T::data_type(), T::NULLABLE))
}

macro_rules! cells {
    ($($type:ty => $arrow:expr),* $(,)?) => {
        $(impl Cell for $type {
            fn data_type() -> DataType {
                $arrow
            }
        })*
    };
}

cells! {
    bool => DataType::Boolean,
    u8 => DataType::UInt8,
    u16 => DataType::UInt16,
    u32 => DataType::UInt32,
    u64 => DataType::UInt64,
    i32 => DataType::Int32,
    i64 => DataType::Int64,
    f32 => DataType::Float32,
    f64 => DataType::Float64,
    String => DataType::Utf8,
    Id => DataType::Utf8,
    Blob => DataType::Binary,
}

impl<T: Cell> Cell for Option<T> {
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        T::data_type()
    }
}

impl<T: Cell> Cell for Vec<T> {
    fn data_type() -> DataType {
        DataType::List(column::<T>("element"))
    }
}

/// Bytes in one cell, stored as `Binary`. (A `Vec<u8>` is a list of numbers.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// Defines a struct and makes it a [`Row`]: its fields are the table's columns, by name and in order. Nested structs are
/// defined the same way.
///
/// ```
/// realsyn_dataset::table_row! {
///     /// One sentence.
///     #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
///     pub struct Sentence {
///         pub text: String,
///         pub entropy: Option<f32>,
///         pub documents: Vec<u64>,
///     }
/// }
/// let rows = [Sentence { text: "A dog.".into(), entropy: None, documents: vec![7] }];
/// let bytes = realsyn_dataset::formats::table::write_table(&rows).unwrap();
/// let limits = Default::default();
/// assert_eq!(realsyn_dataset::formats::table::read_table::<Sentence>(bytes.into(), &limits).unwrap(), rows);
/// ```
#[macro_export]
macro_rules! table_row {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),*
        }

        impl $crate::formats::Row for $name {
            fn fields() -> Vec<$crate::formats::table::FieldRef> {
                vec![$($crate::formats::table::column::<$type>(stringify!($field))),*]
            }
        }

        impl $crate::formats::Cell for $name {
            fn data_type() -> $crate::formats::table::DataType {
                $crate::formats::table::DataType::Struct(<Self as $crate::formats::Row>::fields().into())
            }
        }
    };
}
