//! `AWS::Account::Info`: the synced accounts themselves. The host tells them; nothing is read.

use berth_plugin::{
    Context, Documents, Entities, Json, Mapper, Properties, Property, RawResource, Refused, Resource,
};
use serde::Deserialize;

berth_plugin::export!(AccountInfo, manifest = include_bytes!("../manifest.json"));

/// Maps `AWS::Account::Info`.
pub struct AccountInfo;

/// An account as the host hands it over.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Account<'a> {
    #[serde(borrow)]
    id: Json<'a>,
    name: Json<'a>,
}

const PROPERTIES: Properties =
    Properties::dropping_unknown(&[Property::new("Id").required(), Property::new("Name")]);

impl Mapper for AccountInfo {
    const KIND: &'static str = "AWS::Account::Info";
    type Resource<'a> = Resource<Account<'a>>;

    fn entities(_: &Context, account: Self::Resource<'_>, out: &mut Entities) -> Result<(), Refused> {
        out.entity("awsAccount", account.item.id).title(account.item.name);
        Ok(())
    }

    fn documents(_: &Context, account: RawResource<'_>, out: &mut Documents) -> Result<(), Refused> {
        // The integration Berth replaces gives this kind no `__ExtraContext`.
        out.document(&PROPERTIES).merge(account.item);
        Ok(())
    }
}
