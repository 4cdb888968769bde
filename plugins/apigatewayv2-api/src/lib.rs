//! `AWS::ApiGatewayV2::Api`.

berth_plugin::plugin!();
