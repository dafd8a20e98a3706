terraform {
  # 1.11 is the first with write-only arguments, which keep the secrets out of the state.
  required_version = ">= 1.11, < 2.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Tried with 5.100.0, the last of 5; nothing is used that 6 has changed or lacks.
      version = ">= 5.100, < 7.0"
    }
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = local.is_emulated ? null : [var.account]

  # What an emulator cannot answer for.
  access_key                  = local.is_emulated ? "local" : null
  secret_key                  = local.is_emulated ? "local" : null
  skip_credentials_validation = local.is_emulated
  skip_metadata_api_check     = local.is_emulated
  skip_requesting_account_id  = local.is_emulated

  dynamic "endpoints" {
    for_each = local.is_emulated ? [var.endpoint] : []
    content {
      apigateway     = endpoints.value
      cloudformation = endpoints.value
      cloudwatch     = endpoints.value
      dynamodb       = endpoints.value
      iam            = endpoints.value
      lambda         = endpoints.value
      logs           = endpoints.value
      secretsmanager = endpoints.value
      sns            = endpoints.value
      sts            = endpoints.value
      wafv2          = endpoints.value
    }
  }

  default_tags {
    tags = merge({ application = var.name }, var.tags)
  }
}

locals {
  is_emulated = var.endpoint != null
}
