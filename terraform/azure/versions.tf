terraform {
  required_version = ">= 1.11, < 2.0" # write-only arguments came with 1.11

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.80, < 6.0"
    }
  }
}

provider "azurerm" {
  subscription_id = var.account

  storage_use_azuread = true # the storage account takes no keys

  # What is used here and nothing else; from 5.0 on, the provider registers none by itself.
  resource_provider_registrations = "none"
  resource_providers_to_register = [
    "Microsoft.AlertsManagement",
    "Microsoft.App",
    "Microsoft.DocumentDB",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.OperationalInsights",
    "Microsoft.Storage",
    "Microsoft.Web",
  ]

  features {
    # Azure puts objects of its own beside what is made here, such as Application Insights' action group.
    resource_group {
      prevent_deletion_if_contains_resources = false
    }
    # `destroy` leaves nothing that would keep the names, and a later `apply` starts anew.
    key_vault {
      purge_soft_delete_on_destroy    = true
      recover_soft_deleted_key_vaults = true
    }
    log_analytics_workspace {
      permanently_delete_on_destroy = true
    }
    # Only what Azure Resource Manager does: the deploying person needs no role for the account's contents.
    storage {
      data_plane_available = false
    }
  }
}
