//! `AWS::EC2::InternetGateway`.

berth_plugin::plugin!();
