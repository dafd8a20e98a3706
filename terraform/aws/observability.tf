resource "aws_cloudwatch_log_group" "function" {
  #checkov:skip=CKV_AWS_158: no content and no credential is logged; AWS encrypts with its own key

  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

# The function answers 5xx itself, which Lambda takes for success.
resource "aws_cloudwatch_log_metric_filter" "server_errors" {
  name           = "${var.name}-server-errors"
  log_group_name = aws_cloudwatch_log_group.function.name
  pattern        = "{ $.event = \"request\" && $.status >= 500 }"

  metric_transformation {
    namespace = "Trefoil"
    name      = "${var.name}-server-errors"
    value     = "1"
    unit      = "Count"
  }
}

locals {
  alarms = {
    errors = {
      description = "The function crashed or ran out of time"
      namespace   = "AWS/Lambda"
      metric      = "Errors"
      dimensions  = { FunctionName = aws_lambda_function.gateway.function_name }
      threshold   = 1
    }
    throttles = {
      description = "More requests at a time than max_instances and concurrency allow: they were answered with 429"
      namespace   = "AWS/Lambda"
      metric      = "Throttles"
      dimensions  = { FunctionName = aws_lambda_function.gateway.function_name }
      threshold   = 1
    }
    server-errors = {
      description = "Answers with a status of 500 or more: upstream or the store failed; the log's lines say which"
      namespace   = "Trefoil"
      metric      = aws_cloudwatch_log_metric_filter.server_errors.metric_transformation[0].name
      dimensions  = {}
      threshold   = 5
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "function" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = aws_sns_topic.alarms[*].arn
  ok_actions          = aws_sns_topic.alarms[*].arn
}

resource "aws_sns_topic" "alarms" {
  #checkov:skip=CKV_AWS_26: CloudWatch may not use AWS's own key for topics, and what it says is no secret

  count = var.alarm_email == null ? 0 : 1
  name  = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "alarms" {
  count = var.alarm_email == null ? 0 : 1

  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

locals {
  function_metrics = {
    "Requests"              = [["AWS/Lambda", "Invocations", "FunctionName", var.name, { stat = "Sum" }]]
    "Failures"              = [["AWS/Lambda", "Errors", "FunctionName", var.name, { stat = "Sum" }], ["AWS/Lambda", "Throttles", "FunctionName", var.name, { stat = "Sum" }], ["Trefoil", "${var.name}-server-errors", { stat = "Sum" }]]
    "How long answers take" = [for stat in ["p50", "p95", "p99"] : ["AWS/Lambda", "Duration", "FunctionName", var.name, { stat = stat }]]
    "At a time"             = [["AWS/Lambda", "ConcurrentExecutions", "FunctionName", var.name, { stat = "Maximum" }]]
    "Store, units"          = [for unit in ["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"] : ["AWS/DynamoDB", unit, "TableName", aws_dynamodb_table.store.name, { stat = "Sum" }]]
  }
  rest_metrics = { for api in local.rest_apis :
    "REST API" => [for metric in ["Count", "4XXError", "5XXError"] : ["AWS/ApiGateway", metric, "ApiName", var.name, "Stage", "live", { stat = "Sum" }]]
  }
}

resource "aws_cloudwatch_dashboard" "function" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = concat(
      [for title, metrics in merge(local.function_metrics, local.rest_metrics) : {
        type       = "metric"
        width      = 12
        height     = 6
        properties = { title = title, metrics = metrics, region = var.region, period = 300, view = "timeSeries" }
      }],
      [{
        type   = "log"
        width  = 24
        height = 6
        properties = {
          title  = "What each app asked for"
          region = var.region
          view   = "table"
          query  = "SOURCE '${aws_cloudwatch_log_group.function.name}' | filter event = 'request' | stats count(*) as requests, sum(status >= 500) as server_errors, avg(duration_ms) as mean_ms by app, model | sort requests desc"
        }
      }],
    )
  })
}
