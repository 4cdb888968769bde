# What the user may do, as documents. Nothing here needs a provider.

locals {
  inline_policies = {
    AssumeMemberRoles = {
      Version = "2012-10-17"
      Statement = [{
        Sid      = "BerthAssumesRoles"
        Effect   = "Allow"
        Action   = "sts:AssumeRole"
        Resource = var.role_arns
      }]
    }
  }
}
