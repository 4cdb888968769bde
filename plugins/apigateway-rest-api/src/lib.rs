//! `AWS::ApiGateway::RestApi`.

berth_plugin::plugin!();
