# What the role may do and who may assume it, as documents. Nothing here needs a provider.

locals {
  trust_policy = {
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = var.trusted_principal_arn }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "sts:ExternalId" = var.external_id } }
    }]
  }

  managed_policy_arns = var.permissions == "ReadOnlyAccess" ? ["arn:${var.partition}:iam::aws:policy/ReadOnlyAccess"] : []

  # What `berth policy` prints, in as many files as IAM's limit of 6144 characters makes of it.
  # `cargo xtask deploy --bless` writes them.
  read_policies = var.permissions == "LeastPrivilege" ? {
    for file in fileset("${path.module}/policies", "*.json") :
    trimsuffix(file, ".json") => jsondecode(file("${path.module}/policies/${file}"))
  } : {}

  inline_policies = var.management_account ? {
    FindAccounts = {
      Version = "2012-10-17"
      Statement = [{
        Sid    = "BerthFindsAccounts"
        Effect = "Allow"
        Action = [
          "organizations:ListAccounts",
          "organizations:ListAccountsForParent",
          "organizations:ListOrganizationalUnitsForParent",
        ]
        Resource = "*"
      }]
    }
  } : {}
}
