locals {
  # Some names are the whole world's: six characters make them this deployment's own, and the same at every run.
  unique_name = "${var.name}-${substr(sha256("${var.account}/${var.name}"), 0, 6)}"
}

data "azurerm_client_config" "deployer" {}

resource "azurerm_resource_group" "this" {
  name     = "rg-${var.name}"
  location = var.region
  tags     = var.tags
}
