# Apps, keys, budgets and what was used, as aws/dynamodb_item.py says. Nothing is paid for a table that nobody asks.
resource "aws_dynamodb_table" "store" {
  #checkov:skip=CKV_AWS_119: encrypted with AWS's own key; one of the account's would cost for every request and a dollar a month

  name                        = var.name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }
}
